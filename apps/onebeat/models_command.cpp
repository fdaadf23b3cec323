// SPDX-License-Identifier: Apache-2.0
// onebeat pull and onebeat ls: the models on this machine.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/json_text.h"
#include "commands.h"
#include "interrupt.h"
#include "model/hub/catalog.h"
#include "model/hub/hf_pull.h"
#include "model/hub/model_cache.h"
#include "model/hub/pull.h"
#include "output.h"

namespace onebeat::cli {
namespace {

/// A bar on a terminal; elsewhere one line when a phase begins. On standard error.
class ProgressBar {
 public:
  void show(const PullProgress& progress) {
    if (progress.phase != phase_) {
      end_line();
      phase_ = progress.phase;
      percent_ = -1;
      if (!terminal_)
        fmt::print(stderr, "{}: {:.1f} MB\n", phase_, megabytes(progress.total_bytes));
    }
    const auto percent = static_cast<int>(progress.done_bytes * 100 / progress.total_bytes);
    if (!terminal_ || percent == percent_) return;
    percent_ = percent;
    fmt::print(stderr, "\r{:<9}[{:<40}] {:3}% of {:.1f} MB", phase_,
               std::string(static_cast<std::size_t>(percent * 2 / 5), '='), percent,
               megabytes(progress.total_bytes));
    std::fflush(stderr);
  }

  void end_line() {
    if (terminal_ && percent_ >= 0) fmt::print(stderr, "\n");
    percent_ = -1;
  }

 private:
  static double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  std::string phase_;
  int percent_ = -1;
};

struct PullCommandOptions {
  std::string name;
  std::string endpoint;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Status run_hf_pull(const PullCommandOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const HfReference reference, parse_hf_reference(options.name));
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path folder, model_cache_folder());
  catch_interrupts();
  ProgressBar bar;
  HfPullOptions pull;
  if (const std::string usual = variable("HF_ENDPOINT"); !usual.empty()) pull.endpoint = usual;
  if (!options.endpoint.empty()) pull.endpoint = options.endpoint;
  pull.token = variable("HF_TOKEN");
  pull.progress = [&bar](const PullProgress& progress) {
    bar.show(progress);
    return !interrupted();
  };
  const Result<std::filesystem::path> path = pull_hf_file(reference, folder, pull);
  bar.end_line();
  if (!path.ok() && path.status().code() == StatusCode::kCancelled) {
    return Status(StatusCode::kCancelled, "stopped; the same command goes on from there");
  }
  ONEBEAT_RETURN_IF_ERROR(path.status());
  return write_output("", fmt::format("{}: {}\n", reference.name(), path->string()));
}

Status run_pull(const PullCommandOptions& options) {
  const std::string& name = options.name;
  if (is_hf_reference(name)) return run_hf_pull(options);
  const CatalogModel* model = find_in_catalog(name);
  if (model == nullptr)
    return not_found(
        "no model is called '{}'; the known names are: {}; files of Hugging Face are "
        "called hf:OWNER/REPO/FILE",
        name, catalog_names());
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path folder, model_cache_folder());

  catch_interrupts();
  ProgressBar bar;
  PullOptions pull;
  pull.progress = [&bar](const PullProgress& progress) {
    bar.show(progress);
    return !interrupted();
  };
  const Result<std::filesystem::path> path = pull_model(*model, folder, pull);
  bar.end_line();
  if (!path.ok() && path.status().code() == StatusCode::kCancelled) {
    return Status(StatusCode::kCancelled, "stopped; nothing was kept");
  }
  ONEBEAT_RETURN_IF_ERROR(path.status());
  return write_output("",
                      fmt::format("{}: {} ({:.1f} MB) {}\n", model->name, model->title,
                                  static_cast<double>(model->size_bytes) / 1e6, path->string()));
}

std::string as_json(const std::vector<CachedModel>& models) {
  std::string text = "[";
  for (const CachedModel& model : models) {
    text +=
        fmt::format("{}{{\"name\":{},\"path\":{},\"size\":{}}}", text.size() == 1 ? "" : ",",
                    json_quoted(model.name), json_quoted(model.path.string()), model.size_bytes);
  }
  return text + "]\n";
}

std::string as_table(const std::vector<CachedModel>& models, const std::filesystem::path& folder) {
  if (models.empty()) {
    return fmt::format("No models in {}; `onebeat pull NAME` fetches one of: {}\n", folder.string(),
                       catalog_names());
  }
  std::string text;
  for (const CachedModel& model : models) {
    text += fmt::format("{:<24} {:>9.1f} MB  {}\n", model.name,
                        static_cast<double>(model.size_bytes) / 1e6, model.path.string());
  }
  return text;
}

Status run_ls(const std::string& format) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path folder, model_cache_folder());
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<CachedModel> models, list_cached_models(folder));
  return write_output("", format == "json" ? as_json(models) : as_table(models, folder));
}

}  // namespace

void add_pull_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<PullCommandOptions>();
  CLI::App* command =
      app.add_subcommand("pull", "Fetches a model into the cache folder and checks it");
  command
      ->add_option("name", options->name,
                   "One of: " + catalog_names() + "; or hf:OWNER/REPO/FILE, from Hugging Face")
      ->required();
  command->add_option("--endpoint", options->endpoint,
                      "Server of hf: files; without it HF_ENDPOINT, else https://huggingface.co");
  command->footer(
      "The folder is $ONEBEAT_CACHE, else $XDG_CACHE_HOME/onebeat, else ~/.cache/onebeat. "
      "HF_TOKEN is the token for private files of Hugging Face.");
  command->callback([options, &outcome] { outcome.finish(run_pull(*options)); });
}

void add_ls_command(CLI::App& app, Outcome& outcome) {
  const auto format = std::make_shared<std::string>("text");
  CLI::App* command = app.add_subcommand("ls", "Lists the fetched models: name, size, path");
  command->add_option("--format", *format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([format, &outcome] { outcome.finish(run_ls(*format)); });
}

}  // namespace onebeat::cli
