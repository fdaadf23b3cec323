/* SPDX-License-Identifier: Apache-2.0 */
/* One class of attention layers, and the trace of launches. Include onebeat/onebeat.h. */
#ifndef ONEBEAT_C_GEOMETRY_H
#define ONEBEAT_C_GEOMETRY_H

#include "onebeat/c/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The device of planners and attentions that run on the processor; CUDA devices count from 0. */
#define ONEBEAT_CPU (-1)

/** Type of the elements behind a pointer. */
typedef int32_t onebeat_type;
enum {
  ONEBEAT_TYPE_F32 = 0,
  ONEBEAT_TYPE_F16 = 1,
  ONEBEAT_TYPE_BF16 = 2,
  ONEBEAT_TYPE_F8_E4M3 = 3
};

/** AttentionGeometry (geometry.h): all that decides how the work of a step is divided. */
typedef struct onebeat_geometry {
  uint32_t size;
  int32_t num_heads;    /**< H, query heads of this rank. */
  int32_t num_kv_heads; /**< G, KV heads of this rank; divides H. */
  int32_t head_dim;     /**< D */
  int32_t head_dim_v;   /**< Dv */
  int32_t page_tokens;  /**< P, a power of two; by default 16. */
  int32_t tile_tokens;  /**< N, a power of two from 8 to 1,024; by default 64. */
  int32_t workers;      /**< W, 1 to 4,096; by default 1. See onebeat_tune(). */
  int32_t window_left;  /**< Earlier tokens that a query sees besides itself; -1 (default): all. */
  int32_t chunk_tokens; /**< Queries see only their own chunk of so many tokens; 0: no chunks. */
  int32_t max_query_tokens;       /**< Largest T, 1 (default) to 16. */
  int32_t invariant_chunk_tokens; /**< 0, or the chunk of the batch-invariant mode. */
  int32_t causal;                 /**< 1 (default) or 0. */
  onebeat_type kv_type;           /**< By default ONEBEAT_TYPE_BF16. */
} onebeat_geometry;
static inline onebeat_geometry onebeat_geometry_init(void) {
  onebeat_geometry geometry;
  memset(&geometry, 0, sizeof geometry);
  geometry.size = (uint32_t)sizeof geometry;
  geometry.page_tokens = 16;
  geometry.tile_tokens = 64;
  geometry.workers = 1;
  geometry.window_left = -1;
  geometry.max_query_tokens = 1;
  geometry.causal = 1;
  geometry.kv_type = ONEBEAT_TYPE_BF16;
  return geometry;
}

/** CostModel (geometry.h): how costs are counted, in 1/256 tile. */
typedef struct onebeat_cost_model {
  uint32_t size;
  uint32_t segment_overhead; /**< Cost of beginning a segment, at least 1; by default 128. */
  uint32_t min_tiles;        /**< Fewest tiles of a cut unit, at least 1; by default 1. */
  uint32_t min_worker_cost;  /**< Least that a worker is given; by default 0. */
} onebeat_cost_model;
static inline onebeat_cost_model onebeat_cost_model_init(void) {
  onebeat_cost_model cost;
  memset(&cost, 0, sizeof cost);
  cost.size = (uint32_t)sizeof cost;
  cost.segment_overhead = 128;
  cost.min_tiles = 1;
  return cost;
}

/**
 * Query and KV heads of one rank under attention tensor parallelism over `ranks` (the attention
 * group's size, not the world's), in place. Errors: INVALID_ARGUMENT unless H % ranks == 0 and
 * (G % ranks == 0 or ranks % G == 0).
 */
onebeat_status onebeat_heads_of_rank(int32_t ranks, int32_t* num_heads, int32_t* num_kv_heads,
                                     onebeat_error* error);

/** Errors: INVALID_ARGUMENT or OUT_OF_RANGE, naming the field, its value and what it takes. */
onebeat_status onebeat_check_geometry(const onebeat_geometry* geometry, onebeat_error* error);

/**
 * Sets tile_tokens and workers of `geometry` and fills `cost` with what was measured best for
 * `device` (heads and head sizes must be set). Call it before planner and attention are made.
 * Errors: UNSUPPORTED (no kernel for it), UNAVAILABLE (no such device).
 */
onebeat_status onebeat_tune(int32_t device, onebeat_geometry* geometry, onebeat_cost_model* cost,
                            onebeat_error* error);

/** One launch of a kernel, or one call that ran on a CPU. Names are in static storage. */
typedef struct onebeat_launch_record {
  const char* operation; /**< "prepare_step", "decode_attention", ... */
  const char* kernel;    /**< The variant that ran, such as "mma_d128_r8" or "avx512". */
  int32_t layer;         /**< As given to the call; -1 for a step. */
  int32_t device;        /**< ONEBEAT_CPU or a CUDA device. */
} onebeat_launch_record;

/** A ring of the caller's: launch number n is records[n % capacity]. Not locked: one thread each.
 */
typedef struct onebeat_trace {
  uint32_t size;
  uint32_t capacity;
  onebeat_launch_record* records; /**< Room for `capacity`; null if that is 0. */
  uint64_t count;                 /**< Launches so far; raised by the library. */
} onebeat_trace;
static inline onebeat_trace onebeat_trace_init(onebeat_launch_record* records, uint32_t capacity) {
  onebeat_trace trace;
  memset(&trace, 0, sizeof trace);
  trace.size = (uint32_t)sizeof trace;
  trace.capacity = capacity;
  trace.records = records;
  return trace;
}

#ifdef __cplusplus
}
#endif

#endif /* ONEBEAT_C_GEOMETRY_H */
