// SPDX-License-Identifier: Apache-2.0
// Exit codes: 0 success, 1 failure (one line on stderr), 2 wrong usage (one line on stderr).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "commands.h"
#include "environment.h"

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitWrongUsage = 2;

/// One line: what other programs wrote into a message may hold line breaks.
std::string on_one_line(std::string_view text) {
  std::string line;
  for (const char letter : text) {
    if (letter != '\n' && letter != '\r') {
      line += letter;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

int fail(int exit_code, std::string_view program, std::string_view message) {
  std::fflush(stdout);
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(program.size()), program.data(),
               on_one_line(message).c_str());
  return exit_code;
}

std::string name_of_chosen_command(const CLI::App& app) {
  std::string name = "onebeat";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    name += " " + at->get_name();
  }
  return name;
}

int run(int argc, char** argv) {
  CLI::App app{"Onebeat: LLM inference with one plan per step"};
  app.name("onebeat");
  app.set_version_flag("--version", std::string("onebeat ") + ONEBEAT_VERSION);
  app.require_subcommand(0, 1);  // None is refused below, after an unknown word has been named.
  app.footer(
      "Options may also be set through the environment variable named in [brackets].\n"
      "Exit codes: 0 success, 1 failure, 2 wrong usage.");

  onebeat::cli::Outcome outcome;
  // The order of --help.
  onebeat::cli::add_tokenize_command(app, outcome);
  onebeat::cli::add_detokenize_command(app, outcome);
  onebeat::cli::add_generate_command(app, outcome);
  onebeat::cli::add_chat_command(app, outcome);
  onebeat::cli::add_plan_command(app, outcome);
  onebeat::cli::add_pull_command(app, outcome);
  onebeat::cli::add_ls_command(app, outcome);
  onebeat::cli::add_doctor_command(app, outcome);
  onebeat::cli::add_bench_command(app, outcome);
  onebeat::cli::read_options_from_environment(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    const std::string name = name_of_chosen_command(app);
    return fail(kExitWrongUsage, name, std::string(error.what()) + " (see " + name + " --help)");
  }

  if (app.get_subcommands().empty()) {
    return fail(kExitWrongUsage, "onebeat", "a command is needed (see onebeat --help)");
  }
  if (!outcome.status().ok()) {
    return fail(kExitFailure, name_of_chosen_command(app), outcome.status().message());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return fail(kExitFailure, name_of_chosen_command(app), "cannot write to standard output");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return fail(kExitFailure, "onebeat", error.what());
  }
}
