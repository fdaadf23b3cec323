// SPDX-License-Identifier: Apache-2.0
// Names what a thread does in the timeline of a profiler (NVTX, domain "onebeat"). Without a
// profiler a range costs a comparison; without CUDA it is nothing.
#pragma once

#include <cstdint>

#ifdef ONEBEAT_WITH_CUDA
#include <nvtx3/nvToolsExt.h>
#endif

namespace onebeat {

class ProfilerRange {
 public:
  /// `name`: static storage. `layer`: shown beside it; below 0: none.
  explicit ProfilerRange([[maybe_unused]] const char* name,
                         [[maybe_unused]] std::int32_t layer = -1) {
#ifdef ONEBEAT_WITH_CUDA
    if (domain() == nullptr) return;
    nvtxEventAttributes_t event = {};
    event.version = NVTX_VERSION;
    event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    event.messageType = NVTX_MESSAGE_TYPE_ASCII;
    event.message.ascii = name;
    if (layer >= 0) {
      event.payloadType = NVTX_PAYLOAD_TYPE_INT32;
      event.payload.iValue = layer;
    }
    (void)nvtxDomainRangePushEx(domain(), &event);
#endif
  }
  ~ProfilerRange() {
#ifdef ONEBEAT_WITH_CUDA
    if (domain() != nullptr) (void)nvtxDomainRangePop(domain());
#endif
  }
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;

 private:
#ifdef ONEBEAT_WITH_CUDA
  /// Null without a profiler, which attaches before the first range or not at all.
  static nvtxDomainHandle_t domain() {
    static const nvtxDomainHandle_t domain = nvtxDomainCreateA("onebeat");
    return domain;
  }
#endif
};

}  // namespace onebeat
