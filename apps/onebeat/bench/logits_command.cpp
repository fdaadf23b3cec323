// SPDX-License-Identifier: Apache-2.0
// `onebeat bench logits`: all logits at every position of given tokens, for comparisons with other
// programs.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "bench/report.h"
#include "commands.h"
#include "engine/cpu/cpu_runner.h"
#include "input.h"
#include "model/hub/model_cache.h"
#include "model/model.h"
#include "onebeat/thread_pool.h"
#include "ops/cpu/isa.h"
#include "ops/weight_packer.h"

namespace onebeat::cli {
namespace {

struct LogitsOptions {
  std::string model;
  std::string tokens;
  std::string out;
  std::string compute = "auto";
  int threads = 2;
};

constexpr std::int64_t kMostTokens = 4096;

/// A line of the file: how many of the ids are one prompt, and all ids; those after the prompt are
/// fed one by one.
struct Text {
  std::size_t prompt = 0;
  std::vector<std::int32_t> ids;
};

Result<Text> parse_line(std::string_view line, std::size_t number) {
  std::vector<std::int32_t> numbers;
  const char* at = line.data();
  const char* const end = line.data() + line.size();
  while (at != end) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    const auto [next, error] = std::from_chars(at, end, numbers.emplace_back());
    if (error != std::errc()) {
      return invalid_argument("line {}: '{}' is no number", number,
                              std::string_view(at, static_cast<std::size_t>(end - at)));
    }
    at = next;
  }
  const auto ids = static_cast<std::int64_t>(numbers.size()) - 1;
  if (ids < 1 || ids > kMostTokens || numbers[0] < 1 || numbers[0] > ids) {
    return invalid_argument(
        "line {}: it needs the number of tokens in the prompt, then from 1 to {} ids, at least as "
        "many",
        number, kMostTokens);
  }
  return Text{static_cast<std::size_t>(numbers[0]), {numbers.begin() + 1, numbers.end()}};
}

Result<std::vector<Text>> read_texts(const std::string& path) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::string content, read_input(path));
  std::vector<Text> texts;
  std::string_view rest = content;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty()) continue;
    Result<Text> text = parse_line(line, number);
    if (!text.ok()) return text.status().with_context(path);
    texts.push_back(std::move(text).value());
  }
  if (texts.empty()) return invalid_argument("{} has no line with tokens", path);
  return texts;
}

/// A file that float32 rows are appended to.
class RowFile {
 public:
  explicit RowFile(const std::string& path)
      : path_(path), file_(std::fopen(path.c_str(), "wb"), &std::fclose) {}

  [[nodiscard]] Status append(ConstMatrix rows) {
    for (std::int64_t i = 0; i < rows.rows && file_ != nullptr; ++i) {
      const auto count = static_cast<std::size_t>(rows.cols);
      if (std::fwrite(rows.row(i), sizeof(float), count, file_.get()) != count) file_.reset();
    }
    return status();
  }
  [[nodiscard]] Status close() {
    if (file_ != nullptr && std::fflush(file_.get()) != 0) file_.reset();
    return status();
  }

 private:
  [[nodiscard]] Status status() const {
    if (file_ != nullptr) return {};
    return unavailable("{} cannot be written; is the folder there, and has the disk room?", path_);
  }

  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

Status write_logits(CpuRunner& runner, const Text& text, RowFile& file) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::int32_t request, runner.open_request());
  const std::span<const std::int32_t> ids = text.ids;
  ONEBEAT_RETURN_IF_ERROR(runner.prefill(request, ids.first(text.prompt), PromptLogits::kAll));
  ONEBEAT_RETURN_IF_ERROR(file.append(runner.logits()));
  for (const std::int32_t id : ids.subspan(text.prompt)) {
    const DecodeInput input = {request, id};
    ONEBEAT_RETURN_IF_ERROR(runner.decode({&input, 1}));
    ONEBEAT_RETURN_IF_ERROR(file.append(runner.logits()));
  }
  runner.close_request(request);
  return {};
}

Status run_logits(const LogitsOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::vector<Text> texts, read_texts(options.tokens));
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model(options.model));
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool,
                           ThreadPool::create(options.threads));
  CpuRunnerOptions chosen;
  chosen.mode = options.compute == "f32" ? ComputeMode::kF32 : ComputeMode::kAuto;
  chosen.kv_type = options.compute == "f32" ? KvType::kF32 : KvType::kF16;
  chosen.isa = best_isa();
  std::size_t longest = 1, prompt = 1, positions = 0;
  for (const Text& text : texts) {
    longest = std::max(longest, text.ids.size());
    prompt = std::max(prompt, text.prompt);
    positions += text.ids.size();
  }
  chosen.context_tokens = static_cast<std::int64_t>(longest);
  chosen.prefill_chunk = static_cast<std::int32_t>(prompt);
  chosen.max_output_rows = chosen.prefill_chunk;
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                           Model::load(path, std::make_unique<WeightPacker>(
                                                 LinearOptions{chosen.mode, chosen.isa}, *pool)));
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<CpuRunner> runner,
                           CpuRunner::create(*model, chosen, *pool));
  RowFile file(options.out);
  for (const Text& text : texts) ONEBEAT_RETURN_IF_ERROR(write_logits(*runner, text, file));
  ONEBEAT_RETURN_IF_ERROR(file.close());
  fmt::print(
      "{{\"rows\":{},\"vocabulary\":{},\"isa\":\"{}\",\"compute\":\"{}\",\"version\":\"{}\"}}\n",
      positions, model->config().vocabulary, to_string(chosen.isa), options.compute,
      ONEBEAT_VERSION);
  return {};
}

}  // namespace

void add_bench_logits_command(CLI::App& bench, Outcome& outcome) {
  const auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = bench.add_subcommand("logits", "All logits at every position, to compare");
  command
      ->add_option("-m,--model", options->model,
                   "A .gguf file, a folder with safetensors, or a name that `onebeat pull` knows")
      ->required();
  command
      ->add_option("--tokens", options->tokens,
                   "File; in a line the number of tokens in the prompt, then the ids of prompt and "
                   "reply")
      ->required();
  command->add_option("--out", options->out, "File for the float32 rows [positions, vocabulary]")
      ->required();
  command->add_option("--compute", options->compute, "auto: the fastest; f32: exact to rounding")
      ->check(CLI::IsMember({"auto", "f32"}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads that compute")
      ->check(CLI::Range(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  command->callback([options, &outcome] { outcome.finish(run_logits(*options)); });
}

}  // namespace onebeat::cli
