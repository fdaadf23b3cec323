// SPDX-License-Identifier: Apache-2.0
#include "engine/steps/step_loop.h"

#include <algorithm>

#include "base/check.h"

namespace onebeat {

StepLoop::StepLoop(const SchedulerLimits& limits, PageCache& cache,
                   std::unique_ptr<StepExecutor> executor, RequestQueue& queue, int in_flight)
    : scheduler_(limits, cache),
      executor_(std::move(executor)),
      queue_(queue),
      max_in_flight_(static_cast<std::size_t>(in_flight)) {
  ONEBEAT_CHECK(in_flight >= 1 && in_flight <= kMaxInFlight);
  for (ScheduledStep& step : steps_) {
    step.progress.reserve(static_cast<std::size_t>(limits.max_sequences));
    step.sampled.reserve(static_cast<std::size_t>(limits.max_sequences));
  }
}

bool StepLoop::step() {
  // Asked first: a request whose cancellation is known then is one of those taken.
  const bool cancellations = queue_.take_cancellations();
  take_requests();
  if (cancellations) obey_cancellations();
  const bool submitted = submit();
  const std::size_t in_flight = submitted_ - collected_;
  if (in_flight == max_in_flight_ || (in_flight > 0 && !submitted)) collect();
  sweep();
  return !requests_.empty();
}

void StepLoop::take_requests() {
  const std::size_t known = requests_.size();
  queue_.take(requests_);
  for (std::size_t i = known; i < requests_.size(); ++i) {
    ActiveRequest& request = *requests_[i];
    request.place = i;
    if (request.sequences[0].max_reply_tokens > 0) {
      scheduler_.enqueue(request.sequences[0]);
    } else {
      for (Sequence& sequence : request.sequences) finish(sequence, FinishReason::kLength);
    }
  }
}

void StepLoop::obey_cancellations() {
  for (const std::unique_ptr<ActiveRequest>& request : requests_) {
    if (!request->cancelled.load(std::memory_order_relaxed)) continue;
    for (Sequence& sequence : request->sequences) {
      if (sequence.state != SequenceState::kFinished) finish(sequence, FinishReason::kCancelled);
    }
  }
}

bool StepLoop::submit() {
  if (submitted_ - collected_ == max_in_flight_) return false;
  ScheduledStep& step = steps_[submitted_ % kMaxInFlight];
  const StepBatch& batch = scheduler_.schedule(step);
  if (batch.empty()) return false;
  for (const ScheduledStep::Progress& progress : step.progress)
    leave_queue(*progress.sequence->request);
  ask_masks(step);
  executor_->submit(batch);
  ++submitted_;
  ++counters_.steps;
  return true;
}

void StepLoop::ask_masks(const ScheduledStep& step) {
  for (Sequence* sequence : step.sampled) {
    const TokenMask& mask = sequence->request->request.mask;
    if (!mask) continue;
    std::fill(sequence->allowed.begin(), sequence->allowed.end(), ~0u);
    mask(sequence->completion,
         std::span(sequence->tokens).subspan(static_cast<std::size_t>(sequence->prompt_tokens)),
         sequence->allowed);
  }
}

void StepLoop::collect() {
  const ScheduledStep& step = steps_[collected_++ % kMaxInFlight];
  const Result<std::span<const StepToken>> tokens = executor_->collect();
  scheduler_.completed(step, tokens.ok());
  if (!tokens.ok()) {
    const Status failure = tokens.status();
    for (const ScheduledStep::Progress& progress : step.progress) {
      // Its other completions wait for this one, or were born in the step.
      for (Sequence& sequence : progress.sequence->request->sequences) {
        const bool touched = &sequence == progress.sequence || sequence.last_step == step.number ||
                             sequence.state == SequenceState::kUnborn;
        if (touched && sequence.state != SequenceState::kFinished)
          finish(sequence, FinishReason::kFailed, &failure);
      }
    }
    return;
  }
  ONEBEAT_CHECK(tokens->size() == step.sampled.size());
  for (std::size_t i = 0; i < step.sampled.size(); ++i) accept(*step.sampled[i], (*tokens)[i]);
}

void StepLoop::accept(Sequence& sequence, const StepToken& token) {
  if (sequence.state == SequenceState::kFinished) return;
  if (!token.failure.ok()) return finish(sequence, FinishReason::kFailed, &token.failure);
  const Request& request = sequence.request->request;
  const auto& stops = request.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token.id) != stops.end())
    return finish(sequence, FinishReason::kStop);

  sequence.tokens.push_back(token.id);
  if (sequence.counted) sequence.counts.add_generated(token.id);
  ++counters_.generated_tokens;
  TokenEvent event;
  event.token = token.id;
  event.log_prob = token.log_prob;
  event.top_log_probs = token.top_log_probs;
  bool stopped = false;
  if (sequence.text != nullptr) {
    const Result<bool> stop = sequence.text->append(token.id);
    if (!stop.ok()) {
      const Status failure = stop.status();
      return finish(sequence, FinishReason::kFailed, &failure);
    }
    stopped = *stop;
    event.text = sequence.text->text();
  }
  const bool last = sequence.reply_tokens() == sequence.max_reply_tokens;
  if (last || stopped) {
    scheduler_.remove(sequence);
    return end_event(sequence, event, stopped ? FinishReason::kStop : FinishReason::kLength);
  }
  event.request = sequence.request->id;
  event.completion = sequence.completion;
  if (request.on_event && !request.on_event(event)) finish(sequence, FinishReason::kStop);
}

void StepLoop::finish(Sequence& sequence, FinishReason reason, const Status* failure) {
  scheduler_.remove(sequence);
  TokenEvent event;
  event.failure = failure;
  if (sequence.text != nullptr) sequence.text->clear();
  end_event(sequence, event, reason);
}

void StepLoop::end_event(Sequence& sequence, TokenEvent& event, FinishReason reason) {
  ActiveRequest& active = *sequence.request;
  if (--active.unfinished == 0) {
    leave_queue(active);
    ended_.push_back(&active);
  }
  if (sequence.text != nullptr) {
    sequence.text->finish();
    event.text = sequence.text->text();
  }
  counters_.computed_prompt_tokens += sequence.completion == 0 ? sequence.computed_tokens : 0;
  counters_.cached_prompt_tokens += sequence.completion == 0 ? sequence.cached_tokens : 0;
  event.request = active.id;
  event.completion = sequence.completion;
  event.finished = true;
  event.reason = reason;
  event.reply_tokens = sequence.reply_tokens();
  event.cached_tokens = sequence.cached_tokens;
  event.computed_tokens = sequence.computed_tokens;
  if (active.request.on_event) static_cast<void>(active.request.on_event(event));
}

void StepLoop::leave_queue(ActiveRequest& request) {
  if (!request.queued) return;
  request.queued = false;
  queue_.leave();
}

void StepLoop::sweep() {
  std::erase_if(ended_, [this](ActiveRequest* request) {
    const auto has_row = [](const Sequence& sequence) { return sequence.row >= 0; };
    if (std::any_of(request->sequences.begin(), request->sequences.end(), has_row)) return false;
    drop(*request);
    return true;
  });
}

void StepLoop::drop(ActiveRequest& request) {
  queue_.forget(request.id);
  ++counters_.finished_requests;
  const std::size_t place = request.place;
  requests_[place] = std::move(requests_.back());
  requests_[place]->place = place;
  requests_.pop_back();
}

}  // namespace onebeat
