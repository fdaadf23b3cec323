// SPDX-License-Identifier: Apache-2.0
// CLI11 can read variables itself, but some of its versions ignore a malformed value and some read
// the variables of commands that were not chosen; both would surprise, so the rule is applied here,
// around the chosen command.
#include "environment.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>
#include <vector>

namespace onebeat::cli {
namespace {

using Variable = std::pair<CLI::Option*, std::string>;

std::string value_of(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  return value == nullptr ? std::string() : std::string(value);
}

bool given(const CLI::Option* option) {
  return option->count() > 0;
}

void apply(const std::vector<Variable>& variables) {
  std::vector<Variable> unset;
  for (const auto& [option, variable] : variables) {
    const auto& excluded = option->get_excludes();
    if (!given(option) && std::none_of(excluded.begin(), excluded.end(), given)) {
      unset.emplace_back(option, variable);
    }
  }
  for (const auto& [option, variable] : unset) {
    const std::string value = value_of(variable);
    if (value.empty()) continue;
    try {
      option->add_result(value);
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      throw CLI::ValidationError(variable + "=" + value, error.what());
    }
  }
}

}  // namespace

std::string environment_name(std::string_view long_name) {
  std::string name = "ONEBEAT_";
  for (const char letter : long_name) {
    name +=
        letter == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  return name;
}

void read_options_from_environment(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::vector<Variable> variables;
    for (CLI::Option* option : command->get_options()) {
      if (option->get_lnames().empty() || option == command->get_help_ptr()) continue;
      std::string variable = environment_name(option->get_lnames().front());
      option->description(option->get_description() + " [" + variable + "]");
      variables.emplace_back(option, std::move(variable));
    }
    // A required option may be missing on the command line if its variable is set.
    command->preparse_callback([variables](std::size_t) {
      for (const auto& [option, variable] : variables) {
        if (option->get_required() && !value_of(variable).empty()) option->required(false);
      }
    });
    command->parse_complete_callback([variables] { apply(variables); });
    read_options_from_environment(*command);
  }
}

}  // namespace onebeat::cli
