// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/few_rows_rules.h"

namespace onebeat::cuda {
namespace {

constexpr std::int32_t kLongestStream = 14336;

/// Rows of a group that make x little traffic beside the weight without splits.
constexpr std::int32_t kManyRows = 64;

/// At most `wanted`, and such that each CTA has at least two steps.
std::int32_t at_most(std::int32_t wanted, std::int32_t inputs, std::int32_t step_inputs,
                     std::int32_t ctas) {
  std::int32_t splits = wanted;
  while (splits > 1 && (splits > ctas || inputs < 2 * splits * step_inputs)) splits /= 2;
  return splits;
}

/// Splits of kernels with tiles of 64 rows: two where groups have more than 20 rows, else four.
std::int32_t splits_of_r64(std::int32_t rows_of_group, std::int32_t inputs, std::int32_t ctas) {
  return at_most(rows_of_group > 20 ? 2 : 4, inputs, 128, ctas);
}

}  // namespace

FewRowsRule few_rows_rule(std::int32_t outputs, std::int32_t inputs, std::int32_t rows,
                          std::int32_t multiprocessors, bool invariant) {
  FewRowsRule rule;
  const std::int32_t ctas = multiprocessors * rule.ctas_per_multiprocessor;
  const std::int32_t rows_of_group = outputs / ctas;
  rule.trigger = 8;
  if (!invariant && rows == 1 && inputs <= kLongestStream) {
    rule.family = "stream";
  } else if (!invariant && rows <= 8) {
    if (rows_of_group >= kManyRows) {
      rule.family = "mma_r64";
    } else if (rows_of_group > 20) {
      rule.family = "mma_r32";
    } else if (inputs > 8192) {
      rule.family = "mma_r32";
      rule.splits = at_most(2, inputs, 256, ctas);
    } else {
      rule.family = "mma_r16";
    }
  } else if (rows_of_group >= kManyRows) {
    rule.family = "wgmma_r128";
  } else if (!invariant && rows <= 16 && inputs <= 8192) {
    rule.family = "mma_r32";
    rule.splits = rows_of_group > 20 ? 1 : at_most(2, inputs, 256, ctas);
  } else {
    rule.family = "wgmma_r64";
    rule.splits = splits_of_r64(rows_of_group, inputs, ctas);
  }
  return rule;
}

}  // namespace onebeat::cuda
