// SPDX-License-Identifier: Apache-2.0
// The commands of the `onebeat` binary: each file adds one to the parser and does the work in its callback.
#pragma once

#include <CLI/CLI.hpp>

namespace onebeat::cli {

/// A command's callback stores its exit code here: 0 success, 1 failure (one clear line on stderr).
struct Outcome {
  int exit_code = 0;
};

}  // namespace onebeat::cli
