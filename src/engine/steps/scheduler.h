// SPDX-License-Identifier: Apache-2.0
// Scheduler: which tokens of which sequences the next step computes. Knows lengths, rows and pages;
// knows no model, no device and no text.
//
// A step has the next token of every sequence that decodes, and beside them parts of prompts within
// a budget, which the prompts share evenly, so that a short one does not wait for a long one.
// Sequences are begun in the order of priority and arrival, when the pages of all their known
// tokens are there. If a decoding sequence finds no page, the last in that order gives its own up:
// it goes back to the queue and is computed again later, from what the cache still has of it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/steps/sequence.h"
#include "engine/steps/step_batch.h"
#include "kv/page_cache.h"

namespace onebeat {

struct SchedulerLimits {
  std::int32_t max_sequences = 1;    ///< Most that run at once; at most the cache's rows.
  std::int32_t max_waiting = 1;      ///< Most sequences in the queue, interrupted ones included.
  std::int32_t prompt_tokens = 256;  ///< Most tokens of prompts in a step.
  std::int32_t prompt_tokens_beside_decode = 64;  ///< The same where others decode.
};

/// What the steps have in flight needs to know when one of them completes.
struct ScheduledStep {
  std::uint64_t number = 0;
  struct Progress {
    Sequence* sequence;
    std::int32_t scheduled;  ///< Tokens of the sequence after the step.
  };
  std::vector<Progress> progress;
  std::vector<Sequence*> sampled;  ///< Of each SampleOrder.
};

/// Not thread-safe. Allocates when it is made and when a sequence is begun, and not in other steps.
class Scheduler {
 public:
  /// `cache` must outlive it.
  Scheduler(const SchedulerLimits& limits, PageCache& cache);

  /// Puts a sequence into the queue. Requires: room.
  void enqueue(Sequence& sequence);

  /// Chooses the next step and reserves what it needs; `step` is filled for completed(). Steps in
  /// flight may not have completed: tokens that they will sample are counted, not known. The batch
  /// is valid until the next call; empty: there is nothing to do before a step completes or a
  /// request comes.
  [[nodiscard]] const StepBatch& schedule(ScheduledStep& step);

  /// A step has completed (steps do in their order): its pages can be found by others, and rows
  /// that it was the last to name are given up. Tokens are appended afterwards, by the caller.
  void completed(const ScheduledStep& step, bool succeeded);

  /// Takes a sequence out of the queue or from its pages; its state is kFinished then.
  void remove(Sequence& sequence);

  [[nodiscard]] std::int32_t num_running() const {
    return static_cast<std::int32_t>(running_.size());
  }
  [[nodiscard]] std::int64_t preemptions() const { return preemptions_; }

 private:
  void add_decode_rows(ScheduledStep& step);
  void add_prompt_parts(ScheduledStep& step);
  void begin_waiting();
  [[nodiscard]] bool try_begin(Sequence& sequence);
  [[nodiscard]] bool has_own_page(Sequence& sequence);
  [[nodiscard]] bool make_page(Sequence& sequence);
  void preempt(Sequence& sequence);
  void give_up_row(Sequence& sequence);
  void release_row(Sequence& sequence);
  void add_samples(Sequence& sequence, std::int32_t output, ScheduledStep& step);
  void add_sample(Sequence& sequence, std::int32_t output, ScheduledStep& step);
  void fork(Sequence& parent, Sequence& child);
  void name_in_step(Sequence& sequence, ScheduledStep& step);

  SchedulerLimits limits_;
  PageCache& cache_;
  std::vector<Sequence*> waiting_;  // in the order of comes_before()
  std::vector<Sequence*> running_;  // in the same order
  std::vector<Sequence*> leaving_;  // have given up rows that steps in flight name
  std::int32_t promised_rows_ = 0;  // for completions that are not born yet
  std::uint64_t next_step_ = 1;
  std::uint64_t completed_step_ = 0;
  std::int64_t preemptions_ = 0;
  bool preempted_ = false;  // in the step being scheduled

  std::vector<PageCopy> copies_;
  std::vector<DecodeRow> decode_;
  std::vector<PromptPart> parts_;
  std::vector<SampleOrder> samples_;
  std::vector<std::int32_t> part_tokens_;
  StepBatch batch_;
};

}  // namespace onebeat
