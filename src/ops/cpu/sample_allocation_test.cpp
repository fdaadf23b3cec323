// SPDX-License-Identifier: Apache-2.0
// Choosing a token allocates nothing. A program of its own, because it counts all allocations.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <random>
#include <vector>

#include "ops/sample.h"

namespace {

std::int64_t allocations = 0;

void* counted(std::size_t bytes) {
  ++allocations;
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace onebeat {
namespace {

TEST(Sampler, AllocatesNothingInAChoice) {
  constexpr std::int32_t kVocabulary = 20000;
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = normal(random);
  const std::vector<std::uint32_t> allowed(token_mask_words(kVocabulary), 0x7fffffff);
  std::vector<SamplingParams> all(6);
  for (SamplingParams& params : all) params.temperature = 1;
  all[0].temperature = 0;
  all[1].top_k = 9000;
  all[2].top_p = 0.95f;
  all[3].min_p = 0.05f;
  all[4].repetition_penalty = 1.1f;
  all[4].frequency_penalty = 0.5f;
  all[4].logit_bias = {{3, 1}};
  all[5].log_probs = kMaxTopLogProbs;
  Sampler sampler(kVocabulary);
  TokenCounts counts;

  const std::int64_t before = allocations;
  counts.reset(500);
  const std::int64_t after_reset = allocations;
  EXPECT_GT(after_reset, before);
  for (std::uint64_t i = 0; i < 500; ++i) {
    const auto sampled = sampler.sample({logits, all[i % all.size()], i, &counts,
                                         i % 2 == 0 ? std::span<const std::uint32_t>() : allowed});
    if (!sampled.ok()) break;
    counts.add_generated(sampled->id);
  }
  counts.reset(500);
  const std::int64_t after = allocations;
  EXPECT_EQ(after, after_reset);
}

}  // namespace
}  // namespace onebeat
