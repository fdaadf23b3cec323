// SPDX-License-Identifier: Apache-2.0
// Checks of Onebeat's own invariants. Input, files, memory and devices are never checked with
// these: they get a Status.
#pragma once

namespace onebeat::internal {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

/// Aborts with the condition and its place if it does not hold. Never triggered by a user's input.
#define ONEBEAT_CHECK(condition) \
  (static_cast<bool>(condition)  \
       ? static_cast<void>(0)    \
       : ::onebeat::internal::check_failed(#condition, __FILE__, __LINE__))

/// The same in builds without NDEBUG; for hot paths.
#ifdef NDEBUG
#define ONEBEAT_DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#define ONEBEAT_DCHECK(condition) ONEBEAT_CHECK(condition)
#endif
