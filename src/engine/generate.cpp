// SPDX-License-Identifier: Apache-2.0
// generate(): submits requests and waits for their ends.
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "engine/engine_parts.h"

namespace onebeat {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

double per_second(std::int64_t count, double ms) {
  return ms > 0 ? static_cast<double>(count) * 1e3 / ms : 0;
}

/// A reply as its events make it.
struct Reply {
  const GenerateRequest* asked = nullptr;
  RequestId id = 0;
  GenerateResult result;
  Status status;
  Clock::time_point begin, first;
  std::int64_t drawn = 0;
  bool done = false;

  bool on_event(const TokenEvent& event) {
    const Clock::time_point now = Clock::now();
    const bool stop_token =
        event.finished && event.token == kNoToken && event.reason == FinishReason::kStop && !ended;
    GenerateTimings& timings = result.timings;
    if (event.token != kNoToken || stop_token) {
      if (drawn++ == 0) {
        first = now;
        timings.first_token_ms = timings.prefill_ms = ms_between(begin, now);
      }
      timings.decode_ms = ms_between(first, now);
      timings.decode_steps = drawn - 1;
    }
    if (event.token != kNoToken) {
      result.tokens.push_back(event.token);
      ended = asked->on_token && !asked->on_token(event.token);
    }
    if (event.finished) {
      done = true;
      if (drawn == 0) timings.prefill_ms = ms_between(begin, now);
      timings.prompt_tokens = event.computed_tokens;
      timings.cached_tokens = event.cached_tokens;
      result.finish_reason = ended ? FinishReason::kStop : event.reason;
      if (event.failure != nullptr) status = *event.failure;
    }
    return !ended;
  }

 private:
  bool ended = false;  // on_token() said so
};

}  // namespace

double GenerateTimings::prefill_tokens_per_second() const {
  return per_second(prompt_tokens, prefill_ms);
}
double GenerateTimings::decode_tokens_per_second() const {
  return per_second(decode_steps, decode_ms);
}

Result<GenerateResult> Engine::generate(const GenerateRequest& request) {
  return std::move(generate(std::span(&request, 1)).front());
}

std::vector<Result<GenerateResult>> Engine::generate(std::span<const GenerateRequest> requests) {
  std::vector<Reply> replies(requests.size());
  std::mutex mutex;  // of the replies, while the engine's own thread runs the steps
  std::condition_variable ended;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const GenerateRequest& asked = requests[i];
    Reply& reply = replies[i];
    reply.asked = &asked;
    reply.begin = Clock::now();
    Request request;
    request.prompt.assign(asked.prompt.begin(), asked.prompt.end());
    request.max_tokens = asked.max_tokens;
    request.stop_tokens.assign(asked.stop_tokens.begin(), asked.stop_tokens.end());
    request.sampling = asked.sampling;
    request.on_event = [&reply, &mutex, &ended](const TokenEvent& event) {
      const std::lock_guard lock(mutex);
      const bool goes_on = reply.on_event(event);
      if (reply.done) ended.notify_all();
      return goes_on;
    };
    Result<RequestId> id = submit(request);
    // More requests than may wait: the first ones are computed meanwhile.
    while (id.status().code() == StatusCode::kResourceExhausted && !parts_->threaded && step())
      id = submit(request);
    const std::lock_guard lock(mutex);
    reply.status = id.status();
    if (id.ok()) {
      reply.id = id.value();
    } else {
      reply.done = true;
    }
  }

  std::unique_lock lock(mutex);
  while (true) {
    bool waits = false;
    for (Reply& reply : replies) {
      if (reply.done) continue;
      waits = true;
      if (reply.asked->cancelled && reply.asked->cancelled()) cancel(reply.id);
    }
    if (!waits) break;
    if (parts_->threaded) {
      // Short enough for cancelled() to be asked often.
      ended.wait_for(lock, std::chrono::milliseconds(10));
    } else {
      lock.unlock();
      step();
      lock.lock();
    }
  }
  std::vector<Result<GenerateResult>> results;
  results.reserve(replies.size());
  for (Reply& reply : replies) {
    if (reply.status.ok()) {
      results.emplace_back(std::move(reply.result));
    } else {
      results.emplace_back(std::move(reply.status));
    }
  }
  return results;
}

}  // namespace onebeat
