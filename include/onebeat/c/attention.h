/* SPDX-License-Identifier: Apache-2.0 */
/* Attention and appending in the C ABI. Include onebeat/onebeat.h. */
#ifndef ONEBEAT_C_ATTENTION_H
#define ONEBEAT_C_ATTENTION_H

#include "onebeat/c/planner.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The threads that attention on a CPU runs on. */
typedef struct onebeat_thread_pool onebeat_thread_pool;
/**
 * A pool of `threads`, the calling one included; 0: as many as there are processors. Errors:
 * INVALID_ARGUMENT, RESOURCE_EXHAUSTED; *pool is then null.
 */
onebeat_status onebeat_thread_pool_create(int32_t threads, onebeat_thread_pool** pool,
                                          onebeat_error* error);
/** Gives up the caller's share of a pool: it ends with the last attention that uses it. */
void onebeat_thread_pool_destroy(onebeat_thread_pool* pool);

/** Executes attention of one class on one device. */
typedef struct onebeat_attention onebeat_attention;

/** Name of kernel variant `index` of the CPU (ONEBEAT_CPU) or of CUDA devices (any other number);
 * null from the last on. The best come first on a CPU. Static storage. */
const char* onebeat_variant_name(int32_t device, int32_t index);

/**
 * Attention on a CPU. `variant`: one by name, or null for the best that this processor runs. The
 * geometry is copied, the pool shared. Errors: INVALID_ARGUMENT, OUT_OF_RANGE, UNSUPPORTED;
 * *attention is then null.
 */
onebeat_status onebeat_cpu_attention_create(const onebeat_geometry* geometry,
                                            onebeat_thread_pool* pool, const char* variant,
                                            onebeat_attention** attention, onebeat_error* error);
/**
 * Attention on CUDA device `device`. `variant`: one by name, the best of a family ("mma", "wgmma"),
 * or null for the fastest. Errors: UNSUPPORTED (built without CUDA, head sizes, types, unknown
 * variant), PLAN_MISMATCH (tile_tokens is not the variant's), INVALID_ARGUMENT, UNAVAILABLE (no
 * such device); *attention is then null.
 */
onebeat_status onebeat_cuda_attention_create(int32_t device, const onebeat_geometry* geometry,
                                             const char* variant, onebeat_attention** attention,
                                             onebeat_error* error);
/** Frees an attention, or does nothing with null. No call may be using it; enqueued work may. */
void onebeat_attention_destroy(onebeat_attention* attention);
/** The variant that decode launches run; null for a null or wrong handle. Static storage. */
const char* onebeat_attention_variant(const onebeat_attention* attention);

/** One layer's pages of K and V; strides count elements, a head's elements are contiguous. */
typedef struct onebeat_kv_pool {
  void* k;
  void* v;
  int64_t num_pages;
  int32_t page_tokens;  /**< P */
  int32_t num_kv_heads; /**< G */
  int32_t head_dim;     /**< D */
  int32_t head_dim_v;   /**< Dv */
  onebeat_type type;
  int32_t reserved; /**< 0 */
  int64_t k_page_stride;
  int64_t k_token_stride;
  int64_t k_head_stride;
  int64_t v_page_stride;
  int64_t v_token_stride;
  int64_t v_head_stride;
  const float* k_scales; /**< Of F8_E4M3 pools only: G floats each, or null: all 1. An element is */
  const float* v_scales; /**< its code times its head's scale. Memory of the device. */
} onebeat_kv_pool;

/** How a dense pool orders a page. */
typedef int32_t onebeat_kv_layout;
enum {
  ONEBEAT_KV_RUNS = 0, /**< [head][page][token][d] */
  ONEBEAT_KV_NHD = 1   /**< [page][token][head][d] */
};
/**
 * Describes `num_pages` dense pages at `k` and `v`, each of num_pages * P * G * (D or Dv) elements.
 * Errors: INVALID_ARGUMENT, OUT_OF_RANGE.
 */
onebeat_status onebeat_kv_pool_describe(const onebeat_geometry* geometry, onebeat_kv_layout layout,
                                        int64_t num_pages, void* k, void* v, onebeat_kv_pool* pool,
                                        onebeat_error* error);

/** Page p of request b is pages[row * row_stride + p]; row is row_of[b], or b if that is null. */
typedef struct onebeat_page_map {
  const int32_t* pages;
  int64_t row_stride;
  int32_t num_rows;
  int32_t num_columns;
  const int32_t* row_of;
} onebeat_page_map;

/** Element (token, head, d) is at token * token_stride + head * head_stride + d. */
typedef struct onebeat_head_rows {
  void* data;
  int64_t num_tokens;
  int64_t token_stride;
  int64_t head_stride;
  int32_t num_heads;
  int32_t dim;
  onebeat_type type; /**< F32 on a CPU; on CUDA devices F16 with a cache of F16, else BF16. */
  int32_t reserved;  /**< 0 */
} onebeat_head_rows;
/** Dense [tokens, heads, dim]. */
static inline onebeat_head_rows onebeat_dense_rows(void* data, onebeat_type type,
                                                   int64_t num_tokens, int32_t num_heads,
                                                   int32_t dim) {
  onebeat_head_rows rows;
  memset(&rows, 0, sizeof rows);
  rows.data = data;
  rows.num_tokens = num_tokens;
  rows.token_stride = (int64_t)num_heads * dim;
  rows.head_stride = dim;
  rows.num_heads = num_heads;
  rows.dim = dim;
  rows.type = type;
  return rows;
}

/** LseRows (attention.h): where log-sum-exp goes. Null data: not wanted. */
typedef struct onebeat_lse_rows {
  float* data;
  int64_t size;
  int64_t request_stride;
  int64_t token_stride;
  int64_t head_stride;
} onebeat_lse_rows;

/** AttentionFault (attention.h): what attention had to clamp or skip. */
enum {
  ONEBEAT_FAULT_PAGE_ID = 1 << 0,
  ONEBEAT_FAULT_PAGE_ROW = 1 << 1,
  ONEBEAT_FAULT_SLOT = 1 << 2,
  ONEBEAT_FAULT_PLAN = 1 << 3
};

/** What may start before the kernels that a launch follows are complete: CudaOverlap. */
typedef int32_t onebeat_overlap;
enum { ONEBEAT_OVERLAP_NONE = 0, ONEBEAT_OVERLAP_LAUNCH = 1, ONEBEAT_OVERLAP_EARLY_LOADS = 2 };

/** What attention of one layer reads and writes. */
typedef struct onebeat_attention_launch {
  uint32_t size;
  int32_t layer;         /**< For traces; by default 0. */
  onebeat_head_rows q;   /**< [tokens, H, D]; only read. */
  onebeat_head_rows out; /**< [tokens, H, Dv]; overlaps no input. */
  onebeat_lse_rows lse;
  float scale;        /**< Above 0, usually 1 / sqrt(D). */
  float soft_cap;     /**< 0 (default): none. */
  const float* sinks; /**< H logits, or null. */
  onebeat_kv_pool kv;
  onebeat_page_map pages;
  uint32_t* faults;        /**< ONEBEAT_FAULT_... bits are or-ed into it; null only on a CPU. */
  uint64_t inputs_version; /**< A plan of another version is refused; 0 (default): not compared. */
  onebeat_overlap overlap; /**< CUDA devices only. */
  int32_t kv_is_shared;    /**< CUDA devices: 1 keeps the cache's pages in L2. */
  onebeat_trace* trace;    /**< Of the host; or null. */
} onebeat_attention_launch;
static inline onebeat_attention_launch onebeat_attention_launch_init(void) {
  onebeat_attention_launch launch;
  memset(&launch, 0, sizeof launch);
  launch.size = (uint32_t)sizeof launch;
  return launch;
}

/** Memory for parts of split units: onebeat_sizes says how much. One set for each stream. */
typedef struct onebeat_scratch {
  uint32_t size;
  uint32_t reserved; /**< 0 */
  float* outputs;
  int64_t output_floats;
  float* stats;
  int64_t stats_floats;
  uint32_t* counters; /**< Zero before the first launch; each launch leaves them zero. */
  int64_t num_counters;
} onebeat_scratch;
static inline onebeat_scratch onebeat_scratch_init(void) {
  onebeat_scratch scratch;
  memset(&scratch, 0, sizeof scratch);
  scratch.size = (uint32_t)sizeof scratch;
  return scratch;
}

/**
 * Attention of a decode step for one layer, as the plan divides it. Rows of requests from the
 * plan's num_active on are not touched; a request of length 0 gets output 0 and log-sum-exp -inf.
 * Errors: PLAN_MISMATCH (plan or tensors of another geometry, a plan of old inputs), DATA_LOSS
 * (damaged plan, on a CPU), INVALID_ARGUMENT, UNSUPPORTED; nothing was written or enqueued then. On
 * a CPU OUT_OF_RANGE: it ran and clamped something; `faults` says what.
 */
onebeat_status onebeat_decode_attention(const onebeat_attention* attention,
                                        const onebeat_plan* plan,
                                        const onebeat_attention_launch* launch,
                                        const onebeat_scratch* scratch, void* stream,
                                        onebeat_error* error);

/** The prompts of one prefill: the query tokens of request b are the last of its lens[b]. */
typedef struct onebeat_prefill_batch {
  uint32_t size;
  int32_t num_requests;       /**< B */
  const int32_t* query_begin; /**< B + 1 rows of q, rising from 0. */
  const int32_t* lens;        /**< B numbers, each 0 or at least the request's query tokens. */
} onebeat_prefill_batch;
static inline onebeat_prefill_batch onebeat_prefill_batch_init(void) {
  onebeat_prefill_batch batch;
  memset(&batch, 0, sizeof batch);
  batch.size = (uint32_t)sizeof batch;
  return batch;
}

/**
 * Attention of prompts or parts of them, whose K and V are in the cache already. Errors: as
 * onebeat_decode_attention(); OUT_OF_RANGE also for lengths that do not fit together; UNSUPPORTED
 * on CUDA devices in this version.
 */
onebeat_status onebeat_prefill_attention(const onebeat_attention* attention,
                                         const onebeat_prefill_batch* batch,
                                         const onebeat_attention_launch* launch, void* stream,
                                         onebeat_error* error);

/** AttentionState (attention.h): attention over a part of the tokens. Strides count elements. */
typedef struct onebeat_attention_state {
  void* rows; /**< [tokens, H, Dv] */
  float* lse; /**< [tokens, H]; of the result it may be null. */
  int64_t token_stride;
  int64_t head_stride;
  int64_t lse_token_stride;
  int64_t lse_head_stride;
} onebeat_attention_state;

/** Most states of one merge. */
#define ONEBEAT_MAX_MERGED_STATES 32

/** Results over parts of the tokens that become the result over all of them. */
typedef struct onebeat_merge_launch {
  uint32_t size;
  int32_t layer;                         /**< For traces; by default 0. */
  const onebeat_attention_state* states; /**< 1 to ONEBEAT_MAX_MERGED_STATES; of the host. */
  int32_t num_states;
  onebeat_type type; /**< Of all rows: F32 (default), F16 or BF16. */
  int64_t num_tokens;
  onebeat_attention_state result; /**< May be one of the states; overlaps none otherwise. */
  const float* sinks;             /**< H logits that no state has counted, or null. */
  onebeat_trace* trace;           /**< Of the host; or null. */
} onebeat_merge_launch;
static inline onebeat_merge_launch onebeat_merge_launch_init(void) {
  onebeat_merge_launch launch;
  memset(&launch, 0, sizeof launch);
  launch.size = (uint32_t)sizeof launch;
  return launch;
}

/**
 * Merges states of H heads of Dv. A part with log-sum-exp -inf is empty and its row not looked at;
 * where all are empty the row becomes 0. Errors: INVALID_ARGUMENT; UNSUPPORTED on CUDA devices in
 * this version; nothing was written then.
 */
onebeat_status onebeat_merge_states(const onebeat_attention* attention,
                                    const onebeat_merge_launch* launch, void* stream,
                                    onebeat_error* error);

/** New K and V of a step to be stored in the cache. */
typedef struct onebeat_append_launch {
  uint32_t size;
  int32_t layer;        /**< For traces; by default 0. */
  onebeat_head_rows k;  /**< [tokens, G, D]; only read. F32 on a CPU, else BF16 or F16, as v. */
  onebeat_head_rows v;  /**< [tokens, G, Dv]; only read. */
  const int32_t* slots; /**< One for each token: page * P + offset, or -1: not stored. */
  int64_t num_tokens;
  onebeat_kv_pool kv;
  uint32_t* faults;     /**< ONEBEAT_FAULT_... bits are or-ed into it; null only on a CPU. */
  onebeat_trace* trace; /**< Of the host; or null. */
} onebeat_append_launch;
static inline onebeat_append_launch onebeat_append_launch_init(void) {
  onebeat_append_launch launch;
  memset(&launch, 0, sizeof launch);
  launch.size = (uint32_t)sizeof launch;
  return launch;
}

/**
 * Stores K and V of num_tokens tokens, rounded to nearest even in the pool's type. No two tokens
 * may have one slot. Errors: PLAN_MISMATCH (a pool of another geometry), INVALID_ARGUMENT,
 * UNSUPPORTED (element types); nothing was written or enqueued then. On a CPU OUT_OF_RANGE if slots
 * outside the pool were skipped.
 */
onebeat_status onebeat_append_kv(const onebeat_attention* attention,
                                 const onebeat_append_launch* launch, void* stream,
                                 onebeat_error* error);

#ifdef __cplusplus
}
#endif

#endif /* ONEBEAT_C_ATTENTION_H */
