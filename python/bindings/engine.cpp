// SPDX-License-Identifier: Apache-2.0
// EngineSession and ReplyQueue in Python; python/onebeat/llm is what people use.
#include "onebeat/engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "bindings.h"
#include "engine_session.h"
#include "errors.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onebeat::python {
namespace {

/// Python owns the handle, the engine's requests share what is behind it: their thread must never
/// need the interpreter's lock.
struct QueueHandle {
  std::shared_ptr<ReplyQueue> queue = std::make_shared<ReplyQueue>();
  std::vector<RequestId> requests;  // Whose events go there.
};

template <typename F>
auto without_lock(F&& call) {
  const nb::gil_scoped_release release;
  return call();
}

/// Whether there are events, after at most this time; signals are answered meanwhile.
bool wait_for_events(const QueueHandle& handle, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kBetweenSignals(50);
  const Clock::time_point begin = Clock::now();
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        begin + std::chrono::duration<double>(seconds) - Clock::now());
    const auto time = std::clamp(left, std::chrono::milliseconds(0), kBetweenSignals);
    if (without_lock([&] { return handle.queue->wait(time); })) return true;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (left <= kBetweenSignals) return false;
  }
}

nb::object log_probs_of(const ReplyEvent& event) {
  nb::list top;
  for (const TokenLogProb& entry : event.top_log_probs)
    top.append(nb::make_tuple(entry.token, entry.log_prob));
  return top;
}

/// (request, completion, token, text, log_prob, top_log_probs, finish_reason, failure,
/// cached_tokens, computed_tokens); what is not there is None. failure: (code, message).
nb::tuple as_tuple(const ReplyEvent& event) {
  const bool is_token = event.token != kNoToken;
  nb::object reason = nb::none(), failure = nb::none();
  if (event.finished) reason = nb::str(to_string(event.reason).data());
  if (!event.failure.ok()) {
    failure = nb::make_tuple(to_string(event.failure.code()).data(), event.failure.message());
  }
  const bool has_log_prob = is_token && event.log_prob == event.log_prob;
  return nb::make_tuple(event.request, event.completion,
                        is_token ? nb::object(nb::int_(event.token)) : nb::none(),
                        nb::str(event.text.data(), event.text.size()),
                        has_log_prob ? nb::object(nb::float_(event.log_prob)) : nb::none(),
                        has_log_prob ? log_probs_of(event) : nb::none(), reason, failure,
                        event.cached_tokens, event.computed_tokens);
}

template <typename Enum>
Enum named(const char* what, const std::string& name, std::initializer_list<Enum> values) {
  std::string known;
  for (const Enum value : values) {
    if (name == to_string(value)) return value;
    known += (known.empty() ? "" : ", ") + std::string(to_string(value));
  }
  raise_failure(invalid_argument("{} is '{}'; it takes auto, {}", what, name, known));
}

std::optional<KvType> kv_type_of(const std::string& name) {
  if (name == "auto") return std::nullopt;
  if (name == "f32" || name == "float32") return KvType::kF32;
  if (name == "f16" || name == "float16") return KvType::kF16;
  if (name == "bf16" || name == "bfloat16") return KvType::kBF16;
  raise_failure(invalid_argument("kv_cache_dtype is '{}'; it takes auto, f32, f16, bf16", name));
}

std::unique_ptr<EngineSession> load_session(
    const std::string& model, std::optional<int> threads, std::optional<std::int64_t> context,
    const std::string& compute, const std::string& kv_type, const std::string& isa,
    std::int32_t max_requests, std::int32_t max_waiting, std::optional<std::int64_t> cache_tokens,
    bool reuse_prefixes, std::int32_t prefill_chunk, bool batch_invariant) {
  EngineOptions options;
  options.threads = threads;
  options.context_tokens = context;
  if (compute != "auto") options.compute = named("compute", compute, {ComputeMode::kF32});
  options.kv_type = kv_type_of(kv_type);
  if (isa != "auto") {
    options.isa =
        named("isa", isa, {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx});
  }
  options.max_requests = max_requests;
  options.max_waiting = max_waiting;
  options.cache_tokens = cache_tokens;
  options.reuse_prefixes = reuse_prefixes;
  options.prefill_chunk = prefill_chunk;
  options.batch_invariant = batch_invariant;
  return value_or_raise(without_lock([&] { return EngineSession::load(model, options); }));
}

/// None: the queue is full.
std::optional<RequestId> submit(EngineSession& session, QueueHandle& handle,
                                std::vector<std::int32_t> prompt, std::int32_t max_tokens,
                                std::int32_t completions, std::vector<std::int32_t> stop_tokens,
                                std::vector<std::string> stop_strings, bool wants_text,
                                bool text_continues, bool text_shows_special, bool ignore_end,
                                std::int32_t min_tokens, std::vector<std::int32_t> allowed,
                                float temperature, std::int32_t top_k, float top_p, float min_p,
                                std::uint64_t seed, float repetition_penalty,
                                float presence_penalty, float frequency_penalty,
                                const std::vector<std::pair<std::int32_t, float>>& logit_bias,
                                std::int32_t log_probs) {
  SessionRequest asked;
  asked.ignore_end = ignore_end;
  asked.min_tokens = min_tokens;
  asked.allowed = std::move(allowed);
  Request& request = asked.request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.completions = completions;
  request.stop_tokens = std::move(stop_tokens);
  request.stop_strings = std::move(stop_strings);
  request.wants_text = wants_text;
  request.text_continues = text_continues;
  request.text_shows_special = text_shows_special;
  SamplingParams& sampling = request.sampling;
  sampling = {temperature,       top_k, top_p,    min_p, seed, repetition_penalty, presence_penalty,
              frequency_penalty, {},    log_probs};
  for (const auto& [token, bias] : logit_bias) sampling.logit_bias.push_back({token, bias});
  const Result<RequestId> id =
      without_lock([&] { return session.submit(std::move(asked), handle.queue); });
  if (id.status().code() == StatusCode::kResourceExhausted) return std::nullopt;
  handle.requests.push_back(value_or_raise(id));
  return handle.requests.back();
}

std::vector<std::int32_t> encode(const EngineSession& session, const std::string& text,
                                 bool special, bool begin) {
  EncodeOptions options;
  options.parse_special = special;
  options.begin = begin ? EncodeOptions::Begin::kModel : EncodeOptions::Begin::kNever;
  return value_or_raise(without_lock([&] { return session.tokenizer().encode(text, options); }));
}

nb::dict counters_of(const EngineSession& session) {
  const EngineCounters counters = without_lock([&] { return session.engine().counters(); });
  nb::dict all;
  all["steps"] = counters.steps;
  all["decode_steps"] = counters.decode_steps;
  all["plans_made"] = counters.plans_made;
  all["planned_attentions"] = counters.planned_attentions;
  all["prefill_chunks"] = counters.prefill_chunks;
  all["generated_tokens"] = counters.generated_tokens;
  all["computed_prompt_tokens"] = counters.computed_prompt_tokens;
  all["cached_prompt_tokens"] = counters.cached_prompt_tokens;
  all["finished_requests"] = counters.finished_requests;
  all["preemptions"] = counters.preemptions;
  return all;
}

nb::dict load_of(const EngineSession& session) {
  const EngineLoad load = without_lock([&] { return session.engine().load_now(); });
  nb::dict all;
  all["waiting_requests"] = load.waiting_requests;
  all["running_completions"] = load.running_completions;
  all["total_pages"] = load.total_pages;
  all["available_pages"] = load.available_pages;
  all["kept_pages"] = load.kept_pages;
  all["page_tokens"] = load.page_tokens;
  return all;
}

nb::dict facts_of(const EngineSession& session) {
  const Engine& engine = session.engine();
  const ModelFacts& facts = engine.facts();
  nb::dict all;
  all["name"] = facts.name;
  all["architecture"] = facts.architecture;
  all["num_layers"] = facts.num_layers;
  all["vocab_size"] = facts.vocabulary;
  all["tokenizer_size"] = session.tokenizer().vocabulary_size();
  all["model_context_tokens"] = facts.model_context_tokens;
  all["context_tokens"] = engine.context_tokens();
  all["threads"] = engine.threads();
  all["isa"] = std::string(to_string(engine.isa()));
  all["bytes_per_pass"] = facts.bytes_per_pass;
  all["kv_bytes_per_token"] = facts.kv_bytes_per_token;
  return all;
}

}  // namespace

void bind_engine(nb::module_& module) {
  nb::class_<QueueHandle>(module, "ReplyQueue")
      .def(nb::init<>())
      .def("wait", &wait_for_events, "seconds"_a)
      .def("take",
           [](const QueueHandle& handle) {
             nb::list events;
             for (const ReplyEvent& event : handle.queue->take()) events.append(as_tuple(event));
             return events;
           })
      .def("fileno",
           [](const QueueHandle& handle) { return value_or_raise(handle.queue->descriptor()); });

  nb::class_<EngineSession>(module, "EngineSession")
      .def_static("load", &load_session, "model"_a, nb::kw_only(), "threads"_a.none(),
                  "context"_a.none(), "compute"_a, "kv_type"_a, "isa"_a, "max_requests"_a,
                  "max_waiting"_a, "cache_tokens"_a.none(), "reuse_prefixes"_a, "prefill_chunk"_a,
                  "batch_invariant"_a)
      .def("submit", &submit, "queue"_a, "prompt"_a, nb::kw_only(), "max_tokens"_a, "completions"_a,
           "stop_tokens"_a, "stop_strings"_a, "wants_text"_a, "text_continues"_a,
           "text_shows_special"_a, "ignore_end"_a, "min_tokens"_a, "allowed"_a, "temperature"_a,
           "top_k"_a, "top_p"_a, "min_p"_a, "seed"_a, "repetition_penalty"_a, "presence_penalty"_a,
           "frequency_penalty"_a, "logit_bias"_a, "log_probs"_a)
      .def(
          "cancel",
          [](EngineSession& session, const QueueHandle& handle) {
            for (const RequestId id : handle.requests) session.cancel(id);
          },
          "queue"_a)
      .def("close", &EngineSession::close, nb::call_guard<nb::gil_scoped_release>())
      .def("encode", &encode, "text"_a, nb::kw_only(), "special"_a, "begin"_a)
      .def(
          "decode",
          [](const EngineSession& session, const std::vector<std::int32_t>& ids, bool special) {
            const std::string text = value_or_raise(session.tokenizer().decode(ids, special));
            return nb::str(text.data(), text.size());
          },
          "ids"_a, nb::kw_only(), "special"_a)
      .def(
          "encode_chat",
          [](const EngineSession& session,
             const std::vector<std::pair<std::string, std::string>>& messages,
             bool add_generation_prompt, const std::string& extra_json) {
            return value_or_raise(without_lock(
                [&] { return session.encode_chat(messages, add_generation_prompt, extra_json); }));
          },
          "messages"_a, nb::kw_only(), "add_generation_prompt"_a, "extra_json"_a)
      .def("end_tokens", &EngineSession::end_tokens)
      .def("counters", &counters_of)
      .def("load_now", &load_of)
      .def("facts", &facts_of);
}

}  // namespace onebeat::python
