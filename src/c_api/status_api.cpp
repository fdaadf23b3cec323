// SPDX-License-Identifier: Apache-2.0
// Versions, names of statuses, messages.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "c_api/answer.h"

static_assert(ONEBEAT_OK == static_cast<int>(onebeat::StatusCode::kOk));
static_assert(ONEBEAT_PLAN_MISMATCH == static_cast<int>(onebeat::StatusCode::kPlanMismatch));
static_assert(ONEBEAT_INTERNAL == static_cast<int>(onebeat::StatusCode::kInternal));

namespace onebeat::c_api {

onebeat_status write_error(StatusCode code, std::string_view message, onebeat_error* error) {
  const auto status = static_cast<onebeat_status>(code);
  constexpr std::size_t kMessage = offsetof(onebeat_error, message);
  if (error == nullptr || error->size <= kMessage) return status;
  // A size that was never set may be any number: this library knows no longer struct than its own.
  const std::size_t room = std::min<std::size_t>(error->size, sizeof(onebeat_error)) - kMessage;
  std::size_t length = std::min(message.size(), room - 1);
  // Cut between characters.
  while (length > 0 && length < message.size() &&
         (static_cast<unsigned char>(message[length]) & 0xc0) == 0x80) {
    --length;
  }
  error->status = status;
  std::memcpy(error->message, message.data(), length);
  error->message[length] = '\0';
  return status;
}

}  // namespace onebeat::c_api

uint32_t onebeat_abi_version(void) {
  return ONEBEAT_ABI_VERSION;
}

const char* onebeat_version(void) {
  return ONEBEAT_VERSION;
}

int32_t onebeat_has_cuda(void) {
#ifdef ONEBEAT_WITH_CUDA
  return 1;
#else
  return 0;
#endif
}

const char* onebeat_status_name(onebeat_status status) {
  if (status < ONEBEAT_OK || status > ONEBEAT_INTERNAL) return "unknown";
  return onebeat::to_string(static_cast<onebeat::StatusCode>(status)).data();
}
