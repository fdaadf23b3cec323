// SPDX-License-Identifier: Apache-2.0
// `onebeat bench limits`: how fast this machine's memory can be read, and on a GPU what a launch
// costs.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/json_text.h"
#include "bench/report.h"
#include "commands.h"
#include "device/read_bandwidth.h"
#include "onebeat/thread_pool.h"
#ifdef ONEBEAT_WITH_CUDA
#include "device/cuda_device.h"
#include "device/cuda_limits.h"
#include "device/cuda_stream.h"
#endif

namespace onebeat::cli {
namespace {

struct LimitsOptions {
  std::string device = "cpu";
  int threads = 0;
  int megabytes = 256;
  std::string format = "text";
};

Status run_on_cpu(const LimitsOptions& options) {
  const int threads = options.threads > 0 ? options.threads : ThreadPool::available_processors();
  ONEBEAT_ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(threads));
  const auto bytes = static_cast<std::size_t>(options.megabytes) * 1000 * 1000;
  ONEBEAT_ASSIGN_OR_RETURN(const double read, measure_read_bandwidth(*pool, bytes));
  if (options.format == "json") {
    fmt::print(
        "{{\"bench\":\"limits\",\"device\":\"cpu\",\"cpu\":{},\"threads\":{},\"date\":\"{}\","
        "\"version\":\"{}\","
        "\"megabytes\":{},\"read_gb_per_s\":{:.3f}}}\n",
        json_quoted(cpu_name()), threads, today(), ONEBEAT_VERSION, options.megabytes, read);
  } else {
    fmt::print("{}, {} threads\nreading {} MB: {:.2f} GB/s\n", cpu_name(), threads,
               options.megabytes, read);
  }
  return {};
}

#ifdef ONEBEAT_WITH_CUDA
Status run_on_cuda(const LimitsOptions& options, int device) {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaDeviceFacts facts, use_cuda_device(device));
  ONEBEAT_ASSIGN_OR_RETURN(const CudaStream stream, CudaStream::create());
  ONEBEAT_ASSIGN_OR_RETURN(const CudaLimits limits, measure_cuda_limits(stream.get()));
  if (options.format == "json") {
    fmt::print(
        "{{\"bench\":\"limits\",\"device\":{},\"multiprocessors\":{},\"driver\":{},\"date\":\"{}\","
        "\"version\":\"{}\","
        "\"read_gb_per_s\":{:.1f},\"copy_gb_per_s\":{:.1f},\"graph_node_us\":{:.3f},\"dependent_"
        "node_us\":{:.3f}}}\n",
        json_quoted(facts.name), facts.multiprocessors, facts.driver_version, today(),
        ONEBEAT_VERSION, limits.read_gb_per_s, limits.copy_gb_per_s, limits.graph_node_us,
        limits.dependent_node_us);
  } else {
    fmt::print(
        "{}, {} multiprocessors\n"
        "reading memory: {:.0f} GB/s\ncopying, bytes read and written: {:.0f} GB/s\n"
        "an empty kernel in a graph: {:.3f} us, with programmatic dependent launch {:.3f} us\n",
        facts.name, facts.multiprocessors, limits.read_gb_per_s, limits.copy_gb_per_s,
        limits.graph_node_us, limits.dependent_node_us);
  }
  return {};
}
#endif

Status run_limits(const LimitsOptions& options) {
  if (options.device == "cpu") return run_on_cpu(options);
#ifdef ONEBEAT_WITH_CUDA
  return run_on_cuda(options, cuda_device_number(options.device));
#else
  return unsupported("this onebeat was built without CUDA; build the preset release-cuda to use {}",
                     options.device);
#endif
}

}  // namespace

void add_bench_limits_command(CLI::App& bench, Outcome& outcome) {
  auto options = std::make_shared<LimitsOptions>();
  CLI::App* command =
      bench.add_subcommand("limits", "How fast memory can be read, and what a launch costs");
  command->add_option("--device", options->device, "cpu or cuda:N")
      ->check(check_bench_device)
      ->capture_default_str();
  command->add_option("--threads", options->threads, "CPU threads; 0: all processors")
      ->check(CLI::Range(0, ThreadPool::kMaxThreads))
      ->capture_default_str();
  command->add_option("--megabytes", options->megabytes, "Size of the buffer that the CPU reads")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->callback([options, &outcome] { outcome.finish(run_limits(*options)); });
}

}  // namespace onebeat::cli
