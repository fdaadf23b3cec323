// SPDX-License-Identifier: Apache-2.0
#include "attention/workspace.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "current_device.h"
#include "errors.h"
#include "onebeat/step_cuda.h"

namespace onebeat::python {
namespace {

using Workspaces = std::vector<std::unique_ptr<Workspace>>;

/// Never destroyed: the driver may be gone when a process ends. Guarded by Python's lock.
Workspaces& all() {
  static Workspaces* const workspaces = new Workspaces;
  return *workspaces;
}

template <typename T>
DeviceBuffer<T> zeroed(std::size_t size) {
  auto buffer = value_or_raise(DeviceBuffer<T>::allocate(std::max<std::size_t>(size, 1)));
  raise_if_error(cuda_status(cudaMemset(buffer.data(), 0, buffer.size_bytes()), "cudaMemset"));
  return buffer;
}

template <typename T>
void grow(DeviceBuffer<T>& buffer, std::size_t size, std::vector<DeviceBuffer<T>>& retired) {
  DeviceBuffer<T> larger = zeroed<T>(size);
  if (buffer.size() > 0) retired.push_back(std::move(buffer));
  buffer = std::move(larger);
}

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  raise_if_error(cuda_status(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &capture),
                             "cudaStreamIsCapturing"));
  return capture != cudaStreamCaptureStatusNone;
}

std::string fault_text(std::uint32_t faults) {
  struct Named {
    std::uint32_t bit;
    const char* text;
  };
  const Named names[] = {
      {kFaultPageId, "a page id outside the cache (it was clamped)"},
      {kFaultPageRow, "a length beyond the page table, or a row outside it (it was clamped)"},
      {kFaultSlot, "a slot outside the cache"},
      {kFaultPlan, "metadata that was made for another geometry (nothing was computed)"},
      {static_cast<std::uint32_t>(StepFault::kLength),
       "a length outside its limits (it was clamped)"},
      {static_cast<std::uint32_t>(StepFault::kQueryTokens),
       "a number of query tokens outside its limits (it was clamped)"},
      {static_cast<std::uint32_t>(StepFault::kRow), "a row outside the page map (it was clamped)"},
      {static_cast<std::uint32_t>(StepFault::kSlot), "a slot outside the cache, or below 0"},
      {static_cast<std::uint32_t>(StepFault::kUpdate), "a page update outside the page map"},
      {static_cast<std::uint32_t>(StepFault::kActive),
       "a number of active requests outside its limits (it was clamped)"},
      {static_cast<std::uint32_t>(StepFault::kRoom),
       "more tokens or pages than an output has room for"},
  };
  std::string text;
  for (const Named& name : names) {
    if ((faults & name.bit) != 0) text += fmt::format("{}{}", text.empty() ? "" : "; ", name.text);
  }
  return text;
}

}  // namespace

Workspace::Workspace(int device) : device_(device) {
  status_ = value_or_raise(PinnedBuffer<std::uint32_t>::allocate(1));
  *status_.data() = 0;
}

Workspace& Workspace::of(int device, void* stream) {
  Workspace* spare = nullptr;
  for (const auto& workspace : all()) {
    if (workspace->device_ != device) continue;
    if (workspace->taken_ && workspace->stream_ == stream) return *workspace;
    if (!workspace->taken_) spare = workspace.get();
  }
  if (!is_capturing(stream)) {  // Spare ones are for streams that cannot make theirs.
    all().push_back(std::make_unique<Workspace>(device));
    spare = all().back().get();
  }
  if (spare == nullptr) {
    raise_error("ResourceExhaustedError",
                "this stream is being captured and has no workspace; call "
                "onebeat.reserve_workspace() before the capture");
  }
  spare->stream_ = stream;
  spare->taken_ = true;
  return *spare;
}

void Workspace::reserve(int device, const ScratchSize& scratch, std::size_t plan_bytes) {
  auto workspace = std::make_unique<Workspace>(device);
  static_cast<void>(workspace->scratch(scratch));
  static_cast<void>(workspace->plan(plan_bytes));
  all().push_back(std::move(workspace));
}

void Workspace::raise_faults(int device) {
  for (const auto& workspace : all()) {
    if (workspace->device_ == device) workspace->raise_if_faulty();
  }
}

void Workspace::raise_if_faulty() {
  volatile std::uint32_t* const word = status_.data();
  const std::uint32_t faults = *word;
  if (faults == 0) return;
  *word = 0;
  const bool mismatch = (faults & kFaultPlan) != 0;
  raise_error(mismatch ? "PlanMismatchError" : "OutOfRangeError",
              fmt::format("an earlier call on cuda:{} was given {}", device_, fault_text(faults)));
}

void Workspace::require_no_capture(const char* what) const {
  if (!taken_ || !is_capturing(stream_)) return;
  raise_error(
      "ResourceExhaustedError",
      fmt::format("{} of this stream's workspace must grow, but the stream is being captured; call "
                  "onebeat.reserve_workspace() for the largest geometry before the capture",
                  what));
}

AttentionScratch Workspace::scratch(const ScratchSize& size) {
  const auto outputs = static_cast<std::size_t>(size.output_floats),
             stats = static_cast<std::size_t>(size.stats_floats),
             counters = static_cast<std::size_t>(size.counters);
  if (outputs > outputs_.size() || stats > stats_.size() || counters > counters_.size()) {
    require_no_capture("scratch");
    if (outputs > outputs_.size()) grow(outputs_, outputs, retired_floats_);
    if (stats > stats_.size()) grow(stats_, stats, retired_floats_);
    if (counters > counters_.size()) grow(counters_, counters, retired_counters_);
    raise_if_error(cuda_status(cudaDeviceSynchronize(), "cudaDeviceSynchronize"));
  }
  return {{outputs_.data(), outputs_.size()},
          {stats_.data(), stats_.size()},
          {counters_.data(), counters_.size()}};
}

std::byte* Workspace::plan(std::size_t bytes) {
  if (bytes > plan_.size()) {
    require_no_capture("the plan");
    grow(plan_, bytes, retired_plans_);
    raise_if_error(cuda_status(cudaDeviceSynchronize(), "cudaDeviceSynchronize"));
  }
  return plan_.data();
}

}  // namespace onebeat::python
