// SPDX-License-Identifier: Apache-2.0
#include "engine/steps/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace onebeat {
namespace {

void insert_in_order(std::vector<Sequence*>& sequences, Sequence& sequence) {
  const auto before = [](const Sequence* a, const Sequence* b) { return comes_before(*a, *b); };
  sequences.insert(std::upper_bound(sequences.begin(), sequences.end(), &sequence, before),
                   &sequence);
}

void erase_from(std::vector<Sequence*>& sequences, const Sequence& sequence) {
  sequences.erase(std::find(sequences.begin(), sequences.end(), &sequence));
}

/// Choices that depend on tokens which only the host knows wait for the step in flight.
bool waits_for_host(const Sequence& sequence) {
  const bool needs_host = sequence.counted || sequence.request->request.mask != nullptr;
  return needs_host && sequence.pending > 0;
}

/// Memory for all tokens of a sequence, once.
void prepare_tokens(Sequence& sequence) {
  const std::size_t most = static_cast<std::size_t>(sequence.prompt_tokens) +
                           static_cast<std::size_t>(sequence.max_reply_tokens);
  if (sequence.tokens.capacity() < most) sequence.tokens.reserve(most);
  if (!sequence.counted || !sequence.counts.entries().empty()) return;
  sequence.counts.reset(most);
  sequence.counts.add_prompt(sequence.tokens);
}

bool can_decode(const Sequence& sequence) {
  return sequence.remaining() == 1 && !waits_for_host(sequence) &&
         sequence.reply_tokens() + sequence.pending < sequence.max_reply_tokens;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, PageCache& cache)
    : limits_(limits), cache_(cache) {
  const auto sequences = static_cast<std::size_t>(limits.max_sequences);
  waiting_.reserve(static_cast<std::size_t>(limits.max_waiting) + 2 * sequences);
  running_.reserve(sequences);
  leaving_.reserve(2 * sequences);
  copies_.reserve(sequences);
  decode_.reserve(sequences);
  parts_.reserve(sequences);
  samples_.reserve(sequences);
  part_tokens_.reserve(sequences);
}

void Scheduler::enqueue(Sequence& sequence) {
  sequence.state = SequenceState::kWaiting;
  insert_in_order(waiting_, sequence);
}

const StepBatch& Scheduler::schedule(ScheduledStep& step) {
  step.number = next_step_;
  step.progress.clear();
  step.sampled.clear();
  copies_.clear();
  decode_.clear();
  parts_.clear();
  samples_.clear();
  preempted_ = false;

  add_decode_rows(step);
  if (!preempted_) begin_waiting();
  add_prompt_parts(step);
  batch_ = {copies_, decode_, parts_, samples_};
  if (!batch_.empty()) ++next_step_;
  return batch_;
}

void Scheduler::add_decode_rows(ScheduledStep& step) {
  // Those who give up their pages are never before the one that needs them.
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    // Completions born in this step have their place behind the one that they come from.
    const bool in_step = sequence.last_step == step.number;
    if (in_step || !can_decode(sequence) || !make_page(sequence)) continue;
    const std::int32_t token = sequence.pending > 0
                                   ? kLastSampled
                                   : sequence.tokens[static_cast<std::size_t>(sequence.scheduled)];
    const auto output = static_cast<std::int32_t>(decode_.size());
    decode_.push_back({sequence.row, token, sequence.scheduled, sequence.first_changed_page});
    ++sequence.scheduled;
    name_in_step(sequence, step);
    add_samples(sequence, output, step);
  }
}

bool Scheduler::has_own_page(Sequence& sequence) {
  const std::int32_t position = sequence.scheduled;
  if (!cache_.reserve(sequence.row, std::int64_t{position} + 1).ok()) return false;
  if (!cache_.is_shared(sequence.row, position)) return true;
  const Result<PageCopy> copy = cache_.make_own(sequence.row, position);
  if (!copy.ok()) return false;
  copies_.push_back(*copy);
  sequence.first_changed_page =
      std::min(sequence.first_changed_page, position / cache_.shape().page_tokens);
  return true;
}

bool Scheduler::make_page(Sequence& sequence) {
  while (!has_own_page(sequence)) {
    // Pages that steps in flight still name will be free when those have completed.
    if (!leaving_.empty()) return false;
    Sequence& last = *running_.back();
    preempt(last);
    if (&last == &sequence) return false;
  }
  return true;
}

void Scheduler::preempt(Sequence& sequence) {
  ++preemptions_;
  preempted_ = true;
  erase_from(running_, sequence);
  give_up_row(sequence);
  insert_in_order(waiting_, sequence);
  sequence.state = SequenceState::kWaiting;
}

void Scheduler::give_up_row(Sequence& sequence) {
  if (sequence.completion == 0) promised_rows_ -= sequence.request->unborn;
  if (sequence.last_step > completed_step_) {
    sequence.leaving = true;
    leaving_.push_back(&sequence);
  } else {
    release_row(sequence);
  }
}

void Scheduler::release_row(Sequence& sequence) {
  cache_.close_row(sequence.row);
  sequence.row = -1;
  sequence.leaving = false;
  sequence.scheduled = 0;
}

void Scheduler::begin_waiting() {
  while (!waiting_.empty() && try_begin(*waiting_.front())) {
    Sequence& sequence = *waiting_.front();
    waiting_.erase(waiting_.begin());
    sequence.state = SequenceState::kRunning;
    insert_in_order(running_, sequence);
  }
}

bool Scheduler::try_begin(Sequence& sequence) {
  if (sequence.leaving) return false;
  const std::int32_t unborn = sequence.completion == 0 ? sequence.request->unborn : 0;
  if (cache_.pool().free_rows() - promised_rows_ < 1 + unborn) return false;
  const Result<std::int32_t> row = cache_.open_row();
  ONEBEAT_CHECK(row.ok());
  sequence.chain = {sequence.request->request.cache_salt, 0};
  const std::int32_t known = cache_.share_prefix(*row, sequence.tokens, sequence.chain);
  // One page for each of those that run is left for their next tokens.
  const std::int32_t page_tokens = cache_.shape().page_tokens;
  const std::int32_t pages = (sequence.length() - known + page_tokens - 1) / page_tokens;
  if (cache_.available_pages() < pages + num_running() ||
      !cache_.reserve(*row, sequence.length()).ok()) {
    cache_.close_row(*row);
    return false;
  }
  if (sequence.reply_tokens() == 0 && sequence.computed_tokens == 0) sequence.cached_tokens = known;
  sequence.row = *row;
  sequence.scheduled = known;
  sequence.published_pages = known / page_tokens;
  sequence.first_changed_page = 0;
  sequence.begun_step = next_step_;
  prepare_tokens(sequence);
  promised_rows_ += unborn;
  return true;
}

void Scheduler::add_prompt_parts(ScheduledStep& step) {
  std::int32_t budget =
      decode_.empty() ? limits_.prompt_tokens : limits_.prompt_tokens_beside_decode;
  // A single token is a prompt if it came too late for the decode rows.
  const auto is_prompt = [&](const Sequence& sequence) {
    return sequence.remaining() > 1 ||
           (sequence.begun_step == step.number && sequence.last_step != step.number);
  };
  const auto prompts = static_cast<std::int32_t>(std::count_if(
      running_.begin(), running_.end(), [&](const Sequence* s) { return is_prompt(*s); }));
  // First an even share for each, then the rest to the first.
  const std::int32_t share = prompts == 0 ? 0 : std::max(1, budget / prompts);
  part_tokens_.assign(running_.size(), 0);
  for (const bool even : {true, false}) {
    for (std::size_t i = 0; i < running_.size(); ++i) {
      if (!is_prompt(*running_[i])) continue;
      const std::int32_t more =
          std::min({running_[i]->remaining() - part_tokens_[i], budget, even ? share : budget});
      part_tokens_[i] += more;
      budget -= more;
    }
  }
  auto output = static_cast<std::int32_t>(decode_.size());
  const std::size_t candidates = running_.size();
  for (std::size_t i = 0, at = 0; i < candidates; ++i, ++at) {
    const std::int32_t count = part_tokens_[i];
    if (count == 0) continue;
    Sequence& sequence = *running_[at];
    const auto begin = static_cast<std::size_t>(sequence.scheduled);
    const bool last = count == sequence.remaining();
    parts_.push_back({sequence.row, sequence.scheduled,
                      std::span(sequence.tokens).subspan(begin, static_cast<std::size_t>(count)),
                      last, sequence.first_changed_page, sequence.prompt_tokens});
    sequence.scheduled += count;
    if (sequence.reply_tokens() == 0)
      sequence.computed_tokens = sequence.scheduled - sequence.cached_tokens;
    name_in_step(sequence, step);
    if (!last) continue;
    // Completions born here come to stand behind this one.
    at += sequence.completion == 0 ? static_cast<std::size_t>(sequence.request->unborn) : 0;
    add_samples(sequence, output++, step);
  }
}

void Scheduler::name_in_step(Sequence& sequence, ScheduledStep& step) {
  sequence.last_step = step.number;
  sequence.first_changed_page = static_cast<std::int32_t>(cache_.pool().pages(sequence.row).size());
  step.progress.push_back({&sequence, sequence.scheduled});
}

void Scheduler::add_samples(Sequence& sequence, std::int32_t output, ScheduledStep& step) {
  add_sample(sequence, output, step);
  ActiveRequest& request = *sequence.request;
  if (sequence.completion != 0 || request.unborn == 0) return;
  promised_rows_ -= request.unborn;
  request.unborn = 0;
  for (Sequence& child : request.sequences) {
    if (child.state != SequenceState::kUnborn) continue;
    fork(sequence, child);
    add_sample(child, output, step);
  }
}

void Scheduler::fork(Sequence& parent, Sequence& child) {
  const Result<std::int32_t> row = cache_.fork_row(parent.row);
  ONEBEAT_CHECK(row.ok());  // it was promised
  child.row = *row;
  child.tokens.reserve(parent.tokens.capacity());
  child.tokens.assign(parent.tokens.begin(), parent.tokens.end());
  prepare_tokens(child);
  child.scheduled = parent.scheduled;
  child.chain = {parent.request->request.cache_salt, 0};
  child.published_pages = 0;
  child.first_changed_page = 0;
  child.last_step = parent.last_step;
  child.cached_tokens = parent.cached_tokens;
  child.computed_tokens = parent.computed_tokens;
  child.state = SequenceState::kRunning;
  insert_in_order(running_, child);
}

void Scheduler::add_sample(Sequence& sequence, std::int32_t output, ScheduledStep& step) {
  SampleOrder order;
  order.output = output;
  order.row = sequence.row;
  order.params = &sequence.sampling;
  order.index = static_cast<std::uint64_t>(sequence.reply_tokens() + sequence.pending);
  order.counts = sequence.counted ? &sequence.counts : nullptr;
  order.allowed = sequence.allowed;
  samples_.push_back(order);
  step.sampled.push_back(&sequence);
  ++sequence.pending;
}

void Scheduler::completed(const ScheduledStep& step, bool succeeded) {
  completed_step_ = step.number;
  const std::int32_t page_tokens = cache_.shape().page_tokens;
  for (const auto& [sequence, scheduled] : step.progress) {
    if (!succeeded || sequence->state != SequenceState::kRunning) continue;
    for (; (sequence->published_pages + 1) * page_tokens <= scheduled;
         ++sequence->published_pages) {
      const auto first = static_cast<std::size_t>(sequence->published_pages * page_tokens);
      cache_.publish(
          sequence->row, sequence->published_pages,
          std::span(sequence->tokens).subspan(first, static_cast<std::size_t>(page_tokens)),
          sequence->chain);
    }
  }
  for (Sequence* sequence : step.sampled) --sequence->pending;
  for (std::size_t i = 0; i < leaving_.size();) {
    if (leaving_[i]->last_step > completed_step_) {
      ++i;
      continue;
    }
    release_row(*leaving_[i]);
    leaving_.erase(leaving_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Scheduler::remove(Sequence& sequence) {
  if (sequence.state == SequenceState::kWaiting) {
    erase_from(waiting_, sequence);
  } else if (sequence.state == SequenceState::kRunning) {
    erase_from(running_, sequence);
    give_up_row(sequence);
  }
  sequence.state = SequenceState::kFinished;
}

}  // namespace onebeat
