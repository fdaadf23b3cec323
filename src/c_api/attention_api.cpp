// SPDX-License-Identifier: Apache-2.0
// Thread pools, attention, appending.
#include <string_view>

#include "c_api/answer.h"
#include "c_api/handles.h"
#include "c_api/launch_trace.h"
#include "c_api/step_structs.h"
#include "c_api/structs.h"
#include "onebeat/attention.h"

namespace onebeat::c_api {
namespace {

std::string_view text_of(const char* text) {
  return text == nullptr ? std::string_view() : std::string_view(text);
}

Status make_handle(AttentionExecutorResult made, onebeat_attention** attention) {
  auto handle = std::make_unique<onebeat_attention>();
  ONEBEAT_ASSIGN_OR_RETURN(handle->executor, std::move(made));
  *attention = handle.release();
  return {};
}

/// The copies of handle and launch that a run call works on.
template <typename Launch>
Result<Launch> read_launch(const onebeat_attention* attention, const Launch* launch) {
  ONEBEAT_RETURN_IF_ERROR(check_handle(attention, "attention"));
  ONEBEAT_ASSIGN_OR_RETURN(Launch read, read_struct(launch, "launch"));
  ONEBEAT_RETURN_IF_ERROR(check_trace(read.trace));
  return read;
}

}  // namespace
}  // namespace onebeat::c_api

using namespace onebeat::c_api;  // NOLINT: this file is the border
using onebeat::Status;

onebeat_status onebeat_thread_pool_create(int32_t threads, onebeat_thread_pool** pool,
                                          onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("pool", pool));
    *pool = nullptr;
    auto handle = std::make_unique<onebeat_thread_pool>();
    handle->threads = std::make_shared<SharedThreads>();
    ONEBEAT_ASSIGN_OR_RETURN(
        handle->threads->pool,
        onebeat::ThreadPool::create(threads == 0 ? onebeat::ThreadPool::available_processors()
                                                 : threads));
    *pool = handle.release();
    return {};
  });
}

void onebeat_thread_pool_destroy(onebeat_thread_pool* pool) {
  destroy_handle(pool);
}

const char* onebeat_variant_name(int32_t device, int32_t index) {
  if (device != ONEBEAT_CPU) return cuda_variant_name(index);
  const auto variants = onebeat::cpu_attention_variants();
  if (index < 0 || static_cast<std::size_t>(index) >= variants.size()) return nullptr;
  return variants[static_cast<std::size_t>(index)].name.data();
}

onebeat_status onebeat_cpu_attention_create(const onebeat_geometry* geometry,
                                            onebeat_thread_pool* pool, const char* variant,
                                            onebeat_attention** attention, onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("attention", attention));
    *attention = nullptr;
    ONEBEAT_RETURN_IF_ERROR(check_handle(pool, "thread pool"));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::AttentionGeometry read, geometry_from(geometry));
    return make_handle(make_cpu_attention(read, pool->threads, text_of(variant)), attention);
  });
}

onebeat_status onebeat_cuda_attention_create(int32_t device, const onebeat_geometry* geometry,
                                             const char* variant, onebeat_attention** attention,
                                             onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_RETURN_IF_ERROR(check_pointer("attention", attention));
    *attention = nullptr;
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat::AttentionGeometry read, geometry_from(geometry));
    return make_handle(make_cuda_attention(device, read, text_of(variant)), attention);
  });
}

void onebeat_attention_destroy(onebeat_attention* attention) {
  destroy_handle(attention);
}

const char* onebeat_attention_variant(const onebeat_attention* attention) {
  return check_handle(attention, "").ok() ? attention->executor->variant() : nullptr;
}

onebeat_status onebeat_decode_attention(const onebeat_attention* attention,
                                        const onebeat_plan* plan,
                                        const onebeat_attention_launch* launch,
                                        const onebeat_scratch* scratch, void* stream,
                                        onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_attention_launch read, read_launch(attention, launch));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_plan planned, read_struct(plan, "plan"));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_scratch room, read_struct(scratch, "scratch"));
    return attention->executor->decode(planned, read, room, stream);
  });
}

onebeat_status onebeat_prefill_attention(const onebeat_attention* attention,
                                         const onebeat_prefill_batch* batch,
                                         const onebeat_attention_launch* launch, void* stream,
                                         onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_attention_launch read, read_launch(attention, launch));
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_prefill_batch prompts, read_struct(batch, "batch"));
    return attention->executor->prefill(prompts, read, stream);
  });
}

onebeat_status onebeat_append_kv(const onebeat_attention* attention,
                                 const onebeat_append_launch* launch, void* stream,
                                 onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_append_launch read, read_launch(attention, launch));
    return attention->executor->append(read, stream);
  });
}

onebeat_status onebeat_merge_states(const onebeat_attention* attention,
                                    const onebeat_merge_launch* launch, void* stream,
                                    onebeat_error* error) {
  return answer(error, [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const onebeat_merge_launch read, read_launch(attention, launch));
    return attention->executor->merge(read, stream);
  });
}
