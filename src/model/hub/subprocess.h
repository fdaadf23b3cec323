// SPDX-License-Identifier: Apache-2.0
// Runs another program to its end.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "onebeat/status.h"

namespace onebeat {

/// What to run: arguments[0] is looked up in PATH. Standard input and output are /dev/null; what
/// the program writes to standard error goes to the file `log`. `environment` entries
/// ("NAME=value") replace or join the caller's.
struct Subprocess {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::filesystem::path log;
};

/// Runs the program, calls `keep_going` many times a second and ends the program if that
/// returns false. Returns its exit code (128 + signal if a signal ended it). Errors: kNotFound if
/// there is no such program, kUnavailable if it cannot be started, kCancelled.
[[nodiscard]] Result<int> run_subprocess(const Subprocess& program,
                                         const std::function<bool()>& keep_going);

}  // namespace onebeat
