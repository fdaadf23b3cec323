// SPDX-License-Identifier: Apache-2.0
#include "attention/cpu/launch_frame.h"

#include <string>

#include "base/error.h"

namespace onebeat::cpu {

Status reserve_workspaces(ThreadPool& pool, std::size_t bytes) {
  for (int thread = 0; thread < pool.threads(); ++thread) {
    if (pool.workspace(thread, bytes).size() < bytes) {
      return resource_exhausted("no memory for the {} bytes that each of {} threads works in",
                                bytes, pool.threads());
    }
  }
  return {};
}

Status report_faults(std::uint32_t faults, const KernelTable& kernels, AttentionReport* report) {
  if (report != nullptr) *report = {kernels.name, faults};
  if (faults == 0) return {};
  std::string what;
  const auto add = [&](std::uint32_t fault, const char* text) {
    if ((faults & fault) == 0) return;
    if (!what.empty()) what += "; ";
    what += text;
  };
  add(kFaultPageId, "page ids outside the pool were clamped");
  add(kFaultPageRow, "rows or columns outside the page map were clamped");
  add(kFaultSlot, "tokens with slots outside the pool were not stored");
  add(kFaultPlan, "plan records that do not fit together were skipped");
  return out_of_range("attention results are wrong: {}", what);
}

}  // namespace onebeat::cpu
