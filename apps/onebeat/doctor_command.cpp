// SPDX-License-Identifier: Apache-2.0
// onebeat doctor: what this machine is, what Onebeat will use of it, and why not the rest.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/json_text.h"
#include "commands.h"
#include "device/machine_facts.h"
#include "device/read_bandwidth.h"
#include "model/hub/model_cache.h"
#include "ops/cpu/isa.h"
#include "output.h"
#ifdef ONEBEAT_WITH_CUDA
#include "device/cuda_capability.h"
#include "device/cuda_device.h"
#endif

namespace onebeat::cli {
namespace {

struct DoctorOptions {
  int threads = ThreadPool::available_processors();
  std::string format = "text";
};

/// The GPU as this build sees it.
struct GpuFinding {
  bool usable = false;
  std::string what;  ///< What it is, or why it is not used.
};

struct Findings {
  CpuFacts cpu;
  MemoryFacts memory;
  double read_bandwidth = 0;  ///< Bytes a second; 0 if there was no memory to measure with.
  int threads = 0;
  std::string model_folder;
  std::vector<CachedModel> models;
  std::string model_problem;  ///< Why the models cannot be listed; empty if they can.
  NvidiaDriverFacts driver;
  GpuFinding gpu;
};

GpuFinding find_gpu([[maybe_unused]] const NvidiaDriverFacts& driver) {
#ifdef ONEBEAT_WITH_CUDA
  const Result<CudaDeviceFacts> facts = use_cuda_device(0);
  if (!facts.ok()) return {false, facts.status().message()};
  const Status served = check_capability({facts->compute_major, facts->compute_minor});
  if (!served.ok()) return {false, fmt::format("{}: {}", facts->name, served.message())};
  return {true, fmt::format(
                    "{}, compute capability {}.{} (built: {}), {} multiprocessors, {:.1f} GB",
                    facts->name, facts->compute_major, facts->compute_minor, built_architectures(),
                    facts->multiprocessors, static_cast<double>(facts->memory_bytes) / 1e9)};
#else
  if (driver.version.empty()) return {false, "no NVIDIA driver, and this build has no CUDA code"};
  return {false, "this build has no CUDA code; `make build CUDA=ON` makes one that has"};
#endif
}

Result<Findings> examine(const DoctorOptions& options) {
  Findings found;
  found.cpu = cpu_facts();
  found.memory = memory_facts();
  found.threads = options.threads;
  ONEBEAT_ASSIGN_OR_RETURN(const auto pool, ThreadPool::create(options.threads));
  constexpr std::size_t kBeyondCaches = std::size_t{512} << 20;
  const auto read = measure_read_bandwidth(*pool, kBeyondCaches, 5);
  found.read_bandwidth = read.ok() ? *read * 1e9 : 0;
  if (const auto folder = model_cache_folder(); folder.ok()) {
    found.model_folder = folder->string();
    auto models = list_cached_models(*folder);
    if (models.ok()) {
      found.models = *models;
    } else {
      found.model_problem = models.status().message();
    }
  } else {
    found.model_problem = folder.status().message();
  }
  found.driver = nvidia_driver_facts();
  found.gpu = find_gpu(found.driver);
  return found;
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

std::string as_text(const Findings& found) {
  constexpr double kGb = 1e9;
  std::string text;
  const auto line = [&text](std::string_view name, const std::string& value) {
    text += fmt::format("{:<11}{}\n", name, value);
  };
  line("CPU", fmt::format("{}, {} processors{}", found.cpu.model, found.cpu.processors,
                          found.cpu.cores > 0 ? fmt::format(" on {} cores", found.cpu.cores) : ""));
  line("", found.cpu.features.empty() ? "no known instruction sets beyond the base"
                                      : joined(found.cpu.features, " "));
  line("Memory", fmt::format("{:.1f} GB, {:.1f} GB available{}",
                             static_cast<double>(found.memory.total_bytes) / kGb,
                             static_cast<double>(found.memory.available_bytes) / kGb,
                             found.memory.limit_bytes > 0
                                 ? fmt::format(", limit {:.1f} GB",
                                               static_cast<double>(found.memory.limit_bytes) / kGb)
                                 : ""));
  line("", fmt::format("reads {:.1f} GB/s with {} threads (measured)", found.read_bandwidth / kGb,
                       found.threads));
  line("Driver",
       found.driver.version.empty() ? "no NVIDIA driver" : "NVIDIA " + found.driver.version);
  for (const std::string& gpu : found.driver.gpus) line("", gpu);
  line("GPU", (found.gpu.usable ? "" : "not used: ") + found.gpu.what);
  if (!found.model_problem.empty()) {
    line("Models", found.model_problem);
  } else {
    line("Models",
         found.model_folder +
             (found.models.empty() ? " (none yet; `onebeat pull smollm2` fetches one)" : ""));
    for (const CachedModel& model : found.models) {
      line("",
           fmt::format("{}, {:.1f} MB", model.name, static_cast<double>(model.size_bytes) / 1e6));
    }
  }
  line("In use", fmt::format("the CPU: {} kernels, {} threads", to_string(best_isa()),
                             ThreadPool::available_processors()));
  if (found.gpu.usable) line("", "the GPU for benchmarks (--device cuda:0); models run on the CPU");
  return text;
}

std::string as_json(const Findings& found) {
  const auto list = [](const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ",") + json_quoted(word);
    return "[" + text + "]";
  };
  std::string models;
  for (const CachedModel& model : found.models) {
    models +=
        fmt::format("{}{{\"name\":{},\"path\":{},\"size\":{}}}", models.empty() ? "" : ",",
                    json_quoted(model.name), json_quoted(model.path.string()), model.size_bytes);
  }
  return fmt::format(
      "{{\"cpu\":{{\"model\":{},\"processors\":{},\"cores\":{},\"features\":{},\"kernels\":{}}},"
      "\"memory\":{{\"total\":{},\"available\":{},\"limit\":{},\"read_bytes_per_s\":{:.0f},"
      "\"threads\":{}}},"
      "\"models\":{{\"folder\":{},\"problem\":{},\"list\":[{}]}},"
      "\"gpu\":{{\"driver\":{},\"models\":{},\"usable\":{},\"what\":{}}},\"device\":{}}}\n",
      json_quoted(found.cpu.model), found.cpu.processors, found.cpu.cores, list(found.cpu.features),
      json_quoted(to_string(best_isa())), found.memory.total_bytes, found.memory.available_bytes,
      found.memory.limit_bytes, found.read_bandwidth, found.threads,
      json_quoted(found.model_folder),
      found.model_problem.empty() ? "null" : json_quoted(found.model_problem), models,
      found.driver.version.empty() ? "null" : json_quoted(found.driver.version),
      list(found.driver.gpus), found.gpu.usable, json_quoted(found.gpu.what), "\"cpu\"");
}

Status run_doctor(const DoctorOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const Findings found, examine(options));
  return write_output("", options.format == "json" ? as_json(found) : as_text(found));
}

}  // namespace

void add_doctor_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = app.add_subcommand(
      "doctor", "Says what this machine is, what will be used of it, and why not the rest");
  command
      ->add_option("--threads", options->threads,
                   "Threads that the memory's speed is measured with")
      ->check(CLI::Range(1, ThreadPool::kMaxThreads))
      ->capture_default_str();
  command->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([options, &outcome] { outcome.finish(run_doctor(*options)); });
}

}  // namespace onebeat::cli
