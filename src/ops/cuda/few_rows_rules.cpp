// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/few_rows_rules.h"

namespace onebeat::cuda {
namespace {

constexpr std::int32_t kLongestStream = 14336;

constexpr std::int32_t kLongestHeld = 4096;  // of up to 8 rows, without splits

/// Rows of a group that make x little traffic beside the weight without splits.
constexpr std::int32_t kManyRowsOfGroup = 64;
constexpr std::int32_t kFewRowsOfGroup = 20;

/// At most `wanted`, and such that each CTA has at least two steps.
std::int32_t at_most(std::int32_t wanted, std::int32_t inputs, std::int32_t step_inputs,
                     std::int32_t ctas) {
  std::int32_t splits = wanted;
  while (splits > 1 && (splits > ctas || inputs < 2 * splits * step_inputs)) splits /= 2;
  return splits;
}

/// Splits of kernels with tiles of 64 rows: two where groups have more than 20 rows, else four.
std::int32_t splits_of_r64(std::int32_t rows_of_group, std::int32_t inputs, std::int32_t ctas) {
  return at_most(rows_of_group > kFewRowsOfGroup ? 2 : 4, inputs, 128, ctas);
}

}  // namespace

FewRowsRule few_rows_rule(std::int32_t outputs, std::int32_t inputs, std::int32_t rows,
                          std::int32_t multiprocessors, bool invariant) {
  FewRowsRule rule;
  const std::int32_t ctas = multiprocessors * rule.ctas_per_multiprocessor;
  const std::int32_t rows_of_group = outputs / ctas;
  rule.trigger = 8;
  if (!invariant && rows == 1 && inputs <= kLongestStream) {
    rule.family = rows_of_group <= kFewRowsOfGroup && inputs <= kLongestHeld ? "held" : "stream";
  } else if (!invariant && rows <= 8 && inputs <= kLongestHeld) {
    rule.family = "held";
  } else if (!invariant && rows <= 8 && rows_of_group > kFewRowsOfGroup) {
    rule.family = rows_of_group >= kManyRowsOfGroup ? "mma_r64" : "mma_r32";
  } else if (!invariant && rows <= 8 && inputs <= 8192) {
    rule.family = "mma_r16";
  } else if (!invariant && rows <= 4) {
    rule.family = "mma_r32";
    rule.splits = at_most(2, inputs, 256, ctas);
  } else if (rows_of_group >= kManyRowsOfGroup) {
    rule.family = "wgmma_r128";
  } else if (!invariant && rows <= 16 && rows > 8 && rows_of_group > kFewRowsOfGroup &&
             inputs > kLongestHeld / 2 && inputs <= kLongestHeld) {
    rule.family = "held";
    rule.splits = 2;
  } else {
    rule.family = !invariant && rows > 8 && rows <= 16 ? "mma_r64" : "wgmma_r64";
    rule.splits = splits_of_r64(rows_of_group, inputs, ctas);
  }
  return rule;
}

}  // namespace onebeat::cuda
