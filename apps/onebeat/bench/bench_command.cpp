// SPDX-License-Identifier: Apache-2.0
// `onebeat bench`: the parent of the benchmarks; each is a BENCH_command.cpp of its own.
#include "commands.h"

namespace onebeat::cli {

void add_bench_command(CLI::App& app, Outcome& outcome) {
  CLI::App* bench = app.add_subcommand("bench", "Measures, beside the limit that it states");
  bench->require_subcommand(1);
  add_bench_attention_command(*bench, outcome);
  add_bench_cascade_command(*bench, outcome);
  add_bench_limits_command(*bench, outcome);
  add_bench_linear_command(*bench, outcome);
  add_bench_logits_command(*bench, outcome);
  add_bench_prepare_command(*bench, outcome);
  add_bench_step_command(*bench, outcome);
  add_bench_step_attention_command(*bench, outcome);
}

}  // namespace onebeat::cli
