/* SPDX-License-Identifier: Apache-2.0 */
/* Preparing a step in the C ABI. Include onebeat/onebeat.h. */
#ifndef ONEBEAT_C_STEP_H
#define ONEBEAT_C_STEP_H

#include "onebeat/c/planner.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Type of integers that are read. */
typedef int32_t onebeat_index_type;
enum { ONEBEAT_INDEX_I32 = 0, ONEBEAT_INDEX_I64 = 1 };

/** A strided array of integers to read; strides count elements. All zero: not given. */
typedef struct onebeat_index_array {
  const void* data;
  int64_t size;
  int64_t stride;
  onebeat_index_type type;
  int32_t reserved; /**< 0 */
} onebeat_index_array;
/** A strided matrix of integers to read. */
typedef struct onebeat_index_table {
  const void* data;
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
  int64_t column_stride;
  onebeat_index_type type;
  int32_t reserved; /**< 0 */
} onebeat_index_table;
/** A strided array of 32-bit integers to write; null data: not wanted. */
typedef struct onebeat_int_array {
  int32_t* data;
  int64_t size;
  int64_t stride;
} onebeat_int_array;
/** A strided matrix of 32-bit integers to write; null data: not wanted. */
typedef struct onebeat_int_table {
  int32_t* data;
  int64_t rows;
  int64_t columns;
  int64_t row_stride;
  int64_t column_stride;
} onebeat_int_table;
/** One changed entry of the page map. */
typedef struct onebeat_page_update {
  int32_t column;
  int32_t page;
} onebeat_page_update;

/** `size` contiguous 32-bit integers to read. */
static inline onebeat_index_array onebeat_i32_array(const int32_t* data, int64_t size) {
  onebeat_index_array array;
  memset(&array, 0, sizeof array);
  array.data = data;
  array.size = size;
  array.stride = 1;
  array.type = ONEBEAT_INDEX_I32;
  return array;
}
/** A dense matrix of 32-bit integers to read. */
static inline onebeat_index_table onebeat_i32_table(const int32_t* data, int64_t rows,
                                                    int64_t columns) {
  onebeat_index_table table;
  memset(&table, 0, sizeof table);
  table.data = data;
  table.rows = rows;
  table.columns = columns;
  table.row_stride = columns;
  table.column_stride = 1;
  table.type = ONEBEAT_INDEX_I32;
  return table;
}
/** Room for `size` contiguous 32-bit integers. */
static inline onebeat_int_array onebeat_i32_output(int32_t* data, int64_t size) {
  onebeat_int_array array;
  memset(&array, 0, sizeof array);
  array.data = data;
  array.size = size;
  array.stride = 1;
  return array;
}

/** What a page map holds. */
typedef int32_t onebeat_page_map_kind;
enum {
  ONEBEAT_PAGE_MAP_NONE = 0,  /**< No page map: no slots and no page tables. */
  ONEBEAT_PAGE_MAP_PAGES = 1, /**< Column p: the id of the request's page p. */
  ONEBEAT_PAGE_MAP_SLOTS = 2  /**< Column t: the slot of the request's token t. */
};
/** What page tables made for the step hold. */
typedef int32_t onebeat_tables;
enum {
  ONEBEAT_TABLES_NONE = 0, /**< None: kernels read the page map. */
  ONEBEAT_TABLES_LIVE = 1, /**< The pages of each request; other columns keep what they held. */
  ONEBEAT_TABLES_DENSE = 2 /**< Columns [0, dense_pages) of every row. */
};

/** StepFault (step_cuda.h): what a device found wrong in a step's numbers. */
enum {
  ONEBEAT_STEP_FAULT_LENGTH = 1 << 16,
  ONEBEAT_STEP_FAULT_QUERY_TOKENS = 1 << 17,
  ONEBEAT_STEP_FAULT_ROW = 1 << 18,
  ONEBEAT_STEP_FAULT_SLOT = 1 << 19,
  ONEBEAT_STEP_FAULT_UPDATE = 1 << 20,
  ONEBEAT_STEP_FAULT_ACTIVE = 1 << 21,
  ONEBEAT_STEP_FAULT_ROOM = 1 << 22
};

/** StepArguments (step.h): everything one step reads and writes. */
typedef struct onebeat_step {
  uint32_t size;
  int32_t num_requests;      /**< B */
  const int32_t* num_active; /**< Requests of this step, read when it runs; null: B. */

  /* len_b = lens[i] + len_delta + (add_query_tokens ? T_b : 0); i = b, or rows_of[b] by row. */
  onebeat_index_array lens;
  int32_t lens_by_row;
  int32_t add_query_tokens;
  int32_t len_delta;
  int32_t query_tokens_each;        /**< T of all requests without query_tokens; by default 1. */
  onebeat_index_array query_tokens; /**< T_b, or not given. */

  onebeat_index_array rows_of; /**< Row of each request in the page map; not given: row b. */
  onebeat_page_map_kind page_map;
  int32_t window_identity; /**< 1: the sliding-window pool shares the slots of the full one. */
  onebeat_index_table pages;
  const int32_t* update_begin; /**< B + 1 numbers: where each request's updates begin; or null. */
  const onebeat_page_update* updates;
  int64_t num_updates;       /**< Room behind `updates`. */
  int32_t* update_page_rows; /**< The page map, writable: the same address as pages.data. */
  int64_t pool_pages;        /**< Pages of the pool; 0: new tokens' pages are not checked. */
  onebeat_index_array window_slot_of; /**< Slot in the sliding-window pool of each slot. */

  onebeat_int_array out_lens;     /**< B */
  onebeat_int_array cu_seqlens_q; /**< B + 1 */
  onebeat_int_array cu_seqlens_k; /**< B + 1 */
  onebeat_int_array positions;    /**< One number for each new token, as the two that follow. */
  onebeat_int_array slots;        /**< What onebeat_append_kv() takes. */
  onebeat_int_array window_slots;
  onebeat_tables tables;
  int32_t reserved; /**< 0 */
  int64_t dense_pages;
  onebeat_int_table page_table;
  onebeat_int_table window_table;

  void* plans[ONEBEAT_MAX_CLASSES];        /**< plan_bytes of each class, or null: left out. */
  uint32_t* counters[ONEBEAT_MAX_CLASSES]; /**< scratch_counters words, set to zero; or null. */

  /* What follows concerns a launch on a CUDA device; a CPU does not look at it. */
  uint32_t* faults;     /**< ONEBEAT_STEP_FAULT_... bits are or-ed into it; or null. */
  int32_t programmatic; /**< 1: programmatic dependent launch. */
  int32_t general;      /**< 1: the general kernels also where narrow ones would do. */

  onebeat_trace* trace; /**< Of the host; or null. */
} onebeat_step;
static inline onebeat_step onebeat_step_init(void) {
  onebeat_step step;
  memset(&step, 0, sizeof step);
  step.size = (uint32_t)sizeof step;
  step.query_tokens_each = 1;
  return step;
}

/**
 * Prepares one step; on a CUDA device in one launch on `stream`. Errors: INVALID_ARGUMENT,
 * OUT_OF_RANGE with the request and both numbers, as far as the host can see; outputs then hold
 * what they held. What only the device can see it forces into range and reports in `faults`.
 */
onebeat_status onebeat_prepare_step(onebeat_planner* planner, const onebeat_step* step,
                                    void* stream, onebeat_error* error);

#ifdef __cplusplus
}
#endif

#endif /* ONEBEAT_C_STEP_H */
