// SPDX-License-Identifier: Apache-2.0
// The commands of the `onebeat` binary. Each lives in its own NAME_command.cpp, adds itself to the
// parser and does its work in the subcommand's callback: check what was parsed, call the library,
// finish the outcome.
//
//   void add_plan_command(CLI::App& app, Outcome& outcome) {
//     auto options = std::make_shared<PlanOptions>();
//     CLI::App* command = app.add_subcommand("plan", "Makes, checks and shows a decode plan");
//     command->add_option("--workers", options->workers, "Workers that share the
//     step")->capture_default_str(); command->callback([options, &outcome] {
//     outcome.finish(run_plan(*options)); });
//   }
//
// Every option with a long name also takes its value from ONEBEAT_<NAME> (see environment.h), so
// read the variable that it fills, never its count(). Arguments that parse but cannot be meant
// throw CLI::ValidationError: exit code 2.
#pragma once

#include <CLI/CLI.hpp>

#include "onebeat/status.h"

namespace onebeat::cli {

/// How the chosen command ended; main() turns it into an exit code and at most one line on stderr.
class Outcome {
 public:
  /// Success: exit code 0. Failure: its message on stderr and exit code 1. The last call counts.
  void finish(Status status) { status_ = std::move(status); }
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Status status_;
};

void add_bench_command(CLI::App& app, Outcome& outcome);
/// Add themselves to the `bench` command.
void add_bench_attention_command(CLI::App& bench, Outcome& outcome);
void add_bench_cascade_command(CLI::App& bench, Outcome& outcome);
void add_bench_limits_command(CLI::App& bench, Outcome& outcome);
void add_bench_linear_command(CLI::App& bench, Outcome& outcome);
void add_bench_logits_command(CLI::App& bench, Outcome& outcome);
void add_bench_prepare_command(CLI::App& bench, Outcome& outcome);
void add_bench_step_command(CLI::App& bench, Outcome& outcome);
void add_bench_step_attention_command(CLI::App& bench, Outcome& outcome);
void add_chat_command(CLI::App& app, Outcome& outcome);
void add_detokenize_command(CLI::App& app, Outcome& outcome);
void add_doctor_command(CLI::App& app, Outcome& outcome);
void add_generate_command(CLI::App& app, Outcome& outcome);
void add_ls_command(CLI::App& app, Outcome& outcome);
void add_plan_command(CLI::App& app, Outcome& outcome);
void add_pull_command(CLI::App& app, Outcome& outcome);
void add_tokenize_command(CLI::App& app, Outcome& outcome);

}  // namespace onebeat::cli
