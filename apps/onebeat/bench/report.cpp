// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <fmt/format.h>

#include <ctime>
#include <fstream>

namespace onebeat::cli {

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string check_bench_device(const std::string& text) {
  if (text == "cpu") return {};
  const std::string digits = text.rfind("cuda:", 0) == 0 ? text.substr(5) : "";
  const bool number = !digits.empty() && digits.size() <= 3 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
  return number ? "" : "device is '" + text + "'; it takes cpu or cuda:N";
}

int cuda_device_number(const std::string& checked_device) {
  return std::stoi(checked_device.substr(5));
}

}  // namespace onebeat::cli
