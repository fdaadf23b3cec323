// SPDX-License-Identifier: Apache-2.0
// The step metadata of SGLang's attention backends in one call each.
#include <fmt/format.h>
#include <nanobind/nanobind.h>

#include <algorithm>
#include <map>
#include <memory>

#include "arrays/views.h"
#include "bindings.h"
#include "errors.h"
#include "step_preparer.h"

#ifdef ONEBEAT_WITH_CUDA
#include "attention/workspace.h"
#include "current_device.h"
#endif

namespace nb = nanobind;

namespace onebeat::python {
namespace {

/// Fills tables for pages of this size; made once. Guarded by Python's lock.
StepPreparer& tables_of(std::int32_t page_tokens, int device) {
  static auto* const known =
      new std::map<std::pair<int, std::int32_t>, std::unique_ptr<StepPreparer>>;
  auto& preparer = (*known)[{device, page_tokens}];
  if (preparer == nullptr) {
    preparer = std::make_unique<StepPreparer>(
        page_tokens,
        StepLimits{.max_requests = 65536, .max_context_tokens = 0x7fffffff, .max_query_tokens = 1},
        device);
  }
  return *preparer;
}

std::int32_t checked(std::int64_t value, std::int64_t low, const char* name) {
  if (value < low || value > 0x7fffffff) {
    raise_error("OutOfRangeError",
                fmt::format("{} is {}; it must be from {} to 2147483647", name, value, low));
  }
  return static_cast<std::int32_t>(value);
}

void normal_decode(nb::handle cache_seqlens, nb::handle cu_seqlens_k, nb::handle page_table,
                   nb::handle req_to_token, nb::handle req_pool_indices, std::int64_t max_seq_pages,
                   nb::handle seq_lens, std::int64_t delta, std::int64_t page_size,
                   nb::handle swa_page_table, nb::handle full_to_swa, bool live,
                   nb::handle stream) {
  const Tensor out_lens(cache_seqlens, "cache_seqlens_int32", true),
      sums(cu_seqlens_k, "cu_seqlens_k", true), table(page_table, "page_table", true),
      slots(req_to_token, "req_to_token"), rows(req_pool_indices, "req_pool_indices"),
      lens(seq_lens, "seq_lens"), swa_table(swa_page_table, "swa_page_table", true),
      mapping(full_to_swa, "full_to_swa_index_mapping");
  for (const Tensor* tensor : {&out_lens, &sums, &table, &slots, &rows, &swa_table, &mapping}) {
    if (!tensor->empty()) tensor->require_device(lens.device(), "seq_lens");
  }
  StepArguments step;
  step.lens = index_array(lens);
  step.num_requests = checked(lens.size(0), 0, "the batch size");
  step.len_delta = checked(delta, -0x7fffffff, "seq_len_delta");
  step.out_lens = int_array(out_lens);
  out_lens.require_size(0, lens.size(0), "the batch size, as seq_lens has it");
  step.cu_seqlens_k = int_array(sums);
  step.rows_of = index_array(rows);
  step.page_map = PageMapKind::kSlots;
  step.pages = index_table(slots);
  step.tables = live ? TableContract::kLive : TableContract::kDense;
  step.dense_pages = live ? 0 : checked(max_seq_pages, 0, "max_seq_pages");
  step.page_table = int_table(table);
  if (!swa_table.empty()) {
    step.window_table = int_table(swa_table);
    step.window_slot_of = index_array(mapping);
  }
  tables_of(checked(page_size, 1, "page_size"), lens.device())
      .prepare(step, stream_of(stream, lens));
}

void draft_expand(nb::handle cache_seqlens, nb::handle page_table, nb::handle last_page_lens,
                  std::int64_t decode_length, nb::handle cache_loc, std::int64_t topk,
                  std::int64_t page_size, nb::handle stream) {
  const Tensor out_lens(cache_seqlens, "cache_seqlens_int32", true),
      table(page_table, "page_table", true), last(last_page_lens, "last_page_lens"),
      slots(cache_loc, "cache_loc");
  for (const Tensor* tensor : {&out_lens, &table, &slots})
    tensor->require_device(last.device(), "last_page_lens");
  DraftExpandArguments draft;
  draft.last_page_lens = index_array(last);
  draft.num_requests = checked(last.size(0), 0, "the batch size");
  draft.top_k = checked(topk, 1, "topk");
  draft.decode_length = checked(decode_length, 0, "decode_length");
  draft.page_tokens = checked(page_size, 1, "page_size");
  if (slots.rank() == 1) {
    slots.require_integers();
    draft.slots = {slots.data<const void>(),
                   1,
                   slots.size(0),
                   slots.size(0),
                   slots.stride(0),
                   slots.element() == Element::kI64 ? IndexType::kI64 : IndexType::kI32};
  } else {
    draft.slots = index_table(slots);
  }
  draft.out_lens = int_array(out_lens);
  draft.page_table = int_table(table);
  if (last.device() == kHost) {
    raise_if_error(prepare_draft_expand(draft));
    return;
  }
#ifdef ONEBEAT_WITH_CUDA
  Workspace::raise_faults(last.device());
  const CurrentDevice current(last.device());
  void* const on_stream = stream_of(stream, last);
  const StepLaunch launch{.status = Workspace::of(last.device(), on_stream).status()};
  raise_if_error(prepare_draft_expand_cuda(draft, launch, static_cast<CUstream_st*>(on_stream)));
#else
  static_cast<void>(stream);
  raise_error("UnavailableError",
              "the tensors are on a CUDA device, but this build of onebeat has no CUDA code");
#endif
}

}  // namespace

void bind_sglang(nb::module_& module) {
  module.def("normal_decode", &normal_decode, nb::arg("cache_seqlens_int32"),
             nb::arg("cu_seqlens_k"), nb::arg("page_table"), nb::arg("req_to_token"),
             nb::arg("req_pool_indices"), nb::arg("max_seq_pages"), nb::arg("seq_lens"),
             nb::arg("seq_len_delta"), nb::arg("page_size"), nb::arg("swa_page_table").none(),
             nb::arg("full_to_swa").none(), nb::arg("live"), nb::arg("stream").none());
  module.def("draft_expand", &draft_expand, nb::arg("cache_seqlens_int32"), nb::arg("page_table"),
             nb::arg("last_page_lens"), nb::arg("decode_length"), nb::arg("cache_loc"),
             nb::arg("topk"), nb::arg("page_size"), nb::arg("stream").none());
}

}  // namespace onebeat::python
