// SPDX-License-Identifier: Apache-2.0
// Options from the environment, by one rule for all commands: `--max-tokens` is also
// ONEBEAT_MAX_TOKENS.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace onebeat::cli {

/// "max-tokens" becomes "ONEBEAT_MAX_TOKENS".
[[nodiscard]] std::string environment_name(std::string_view long_name);

/// Gives every option of every subcommand its variable and names it in --help. What the command
/// line says wins; an option that excludes one given there stays unset; an empty variable counts as
/// unset. A value that the option does not take throws CLI::ValidationError naming the variable.
/// Call after all commands are added.
void read_options_from_environment(CLI::App& app);

}  // namespace onebeat::cli
