// SPDX-License-Identifier: Apache-2.0
#include "device/machine_facts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

namespace onebeat {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 16> kFeatures = {
    "sse4_2",      "avx",      "f16c",     "fma",      "avx2",        "avx_vnni",
    "avx512f",     "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"};

std::string read_text(const fs::path& file) {
  std::ifstream input(file);
  return {std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

std::int64_t number_at_start(std::string_view text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// Calls visit(name, value) for every line "name : value".
template <typename Visit>
void for_each_field(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    visit(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  }
}

bool has_word(std::string_view words, std::string_view word) {
  for (std::size_t at = words.find(word); at != std::string_view::npos;
       at = words.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

}  // namespace

CpuFacts parse_cpuinfo(std::string_view text) {
  CpuFacts facts;
  std::set<std::pair<std::int64_t, std::int64_t>> cores;
  std::int64_t socket = 0;
  for_each_field(text, [&](std::string_view name, std::string_view value) {
    if (name == "processor") {
      ++facts.processors;
    } else if (name == "model name" && facts.model.empty()) {
      facts.model = value;
    } else if (name == "physical id") {
      socket = number_at_start(value);
    } else if (name == "core id") {
      cores.emplace(socket, number_at_start(value));
    } else if (name == "flags" && facts.features.empty()) {
      for (const std::string_view feature : kFeatures) {
        if (has_word(value, feature)) facts.features.emplace_back(feature);
      }
    }
  });
  facts.cores = static_cast<int>(cores.size());
  if (facts.model.empty()) facts.model = "unknown";
  return facts;
}

MemoryFacts parse_meminfo(std::string_view text) {
  MemoryFacts facts;
  for_each_field(text, [&facts](std::string_view name, std::string_view value) {
    if (name == "MemTotal") facts.total_bytes = number_at_start(value) * 1024;
    if (name == "MemAvailable") facts.available_bytes = number_at_start(value) * 1024;
  });
  return facts;
}

CpuFacts cpu_facts() {
  return parse_cpuinfo(read_text("/proc/cpuinfo"));
}

MemoryFacts memory_facts() {
  MemoryFacts facts = parse_meminfo(read_text("/proc/meminfo"));
  // "max" without a limit, which reads as 0.
  facts.limit_bytes = number_at_start(read_text("/sys/fs/cgroup/memory.max"));
  return facts;
}

NvidiaDriverFacts nvidia_driver_facts() {
  NvidiaDriverFacts facts;
  const std::string version = read_text("/proc/driver/nvidia/version");
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  ..."; the open module writes more
  // words before it.
  const std::string_view first_line = std::string_view(version).substr(0, version.find('\n'));
  for (std::size_t at = 0; at < first_line.size();) {
    const std::size_t end = std::min(first_line.find(' ', at), first_line.size());
    const std::string_view word = first_line.substr(at, end - at);
    if (facts.version.empty() && word.find('.') != std::string_view::npos &&
        number_at_start(word) > 0) {
      facts.version = word;
    }
    at = end + 1;
  }
  std::error_code error;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    for_each_field(read_text(gpu.path() / "information"),
                   [&facts](std::string_view name, std::string_view value) {
                     if (name == "Model") facts.gpus.emplace_back(value);
                   });
  }
  return facts;
}

}  // namespace onebeat
