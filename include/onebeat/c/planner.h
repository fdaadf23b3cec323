/* SPDX-License-Identifier: Apache-2.0 */
/* Planners and plans in the C ABI. Include onebeat/onebeat.h. */
#ifndef ONEBEAT_C_PLANNER_H
#define ONEBEAT_C_PLANNER_H

#include "onebeat/c/geometry.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Plans the steps of one model: one plan for each class of layers. */
typedef struct onebeat_planner onebeat_planner;

/** Most classes of one planner. */
#define ONEBEAT_MAX_CLASSES 8

/** What a planner is sized for; everything beyond is refused. */
typedef struct onebeat_limits {
  uint32_t size;
  int32_t max_requests;       /**< Largest B, 0 to 65,536. */
  int64_t max_context_tokens; /**< Longest request, 1 to 2^31 - 1. */
  int32_t max_query_tokens;   /**< Largest T of a step, 1 (default) to 16. */
  int32_t page_tokens;        /**< P, the same as every class's; by default 16. */
} onebeat_limits;
static inline onebeat_limits onebeat_limits_init(void) {
  onebeat_limits limits;
  memset(&limits, 0, sizeof limits);
  limits.size = (uint32_t)sizeof limits;
  limits.max_query_tokens = 1;
  limits.page_tokens = 16;
  return limits;
}

/**
 * Makes a planner for `num_classes` classes (0: page tables only). `costs` is null (defaults) or
 * has one pointer for each class, null or not. Nothing given is kept. Errors: INVALID_ARGUMENT,
 * OUT_OF_RANGE with the field and the numbers, UNAVAILABLE, UNSUPPORTED; *planner is then null.
 */
onebeat_status onebeat_planner_create(int32_t device, const onebeat_geometry* const* geometries,
                                      const onebeat_cost_model* const* costs, int32_t num_classes,
                                      const onebeat_limits* limits, onebeat_planner** planner,
                                      onebeat_error* error);
/** Frees a planner, or does nothing with null. No call may be using it; enqueued work may. */
void onebeat_planner_destroy(onebeat_planner* planner);

/** What plans and scratch of one class need. The same for every step of the planner. */
typedef struct onebeat_sizes {
  uint32_t size;
  uint32_t stamp;                /**< Of the geometry; every worker of a plan carries it. */
  int32_t workers;               /**< W */
  int32_t capacity;              /**< Largest B. */
  int64_t plan_bytes;            /**< Of one plan, 16-byte aligned. */
  int64_t scratch_output_floats; /**< 16-byte aligned, uninitialised. */
  int64_t scratch_stats_floats;  /**< 16-byte aligned, uninitialised. */
  int64_t scratch_counters;      /**< 32-bit words, zero before the first launch. */
  uint32_t segment_overhead;     /**< Of the cost model in use, as the two that follow. */
  uint32_t min_tiles;
  uint32_t min_worker_cost;
  uint32_t reserved;
} onebeat_sizes;
static inline onebeat_sizes onebeat_sizes_init(void) {
  onebeat_sizes sizes;
  memset(&sizes, 0, sizeof sizes);
  sizes.size = (uint32_t)sizeof sizes;
  return sizes;
}
/** Errors: INVALID_ARGUMENT, OUT_OF_RANGE (no such class). */
onebeat_status onebeat_planner_sizes(const onebeat_planner* planner, int32_t class_index,
                                     onebeat_sizes* sizes, onebeat_error* error);

/** A plan, wherever its bytes are. Borrows them. onebeat_planner_plan() fills it. */
typedef struct onebeat_plan {
  uint32_t size;
  uint32_t stamp;
  const void* data; /**< 16-byte aligned; memory of the device that runs it. */
  int64_t bytes;    /**< onebeat_sizes.plan_bytes */
  int32_t workers;
  int32_t capacity;
  uint64_t version; /**< Of the step's inputs that it was made from, as the caller counts them. */
} onebeat_plan;
static inline onebeat_plan onebeat_plan_init(void) {
  onebeat_plan plan;
  memset(&plan, 0, sizeof plan);
  plan.size = (uint32_t)sizeof plan;
  return plan;
}
/**
 * Describes the plan of a class that onebeat_prepare_step() writes at `data`. The memory is not
 * looked at. Errors: INVALID_ARGUMENT, OUT_OF_RANGE (no such class).
 */
onebeat_status onebeat_planner_plan(const onebeat_planner* planner, int32_t class_index,
                                    const void* data, uint64_t version, onebeat_plan* plan,
                                    onebeat_error* error);

/**
 * Proves on the host that `plan`, whose data is host memory here, covers all work of a batch
 * exactly once and within its bound. `lens`: B lengths, the step's own tokens included.
 * `query_tokens`: B numbers, or null if all have the geometry's max_query_tokens. Works for
 * planners of every device. Errors: PLAN_MISMATCH, DATA_LOSS (not a plan of this class), INTERNAL
 * (naming the first violation), INVALID_ARGUMENT.
 */
onebeat_status onebeat_check_plan(const onebeat_planner* planner, int32_t class_index,
                                  const onebeat_plan* plan, const int32_t* lens,
                                  const int32_t* query_tokens, int32_t num_requests,
                                  onebeat_error* error);

/** How onebeat_show_plan() shows a plan. */
typedef int32_t onebeat_plan_format;
enum {
  ONEBEAT_PLAN_TEXT = 0, /**< A line per worker. */
  ONEBEAT_PLAN_JSON = 1, /**< What `onebeat plan --format json` prints. */
  ONEBEAT_PLAN_SVG = 2   /**< A picture. */
};
/**
 * Writes a plan in host memory as text that ends with a NUL. `*length`: bytes of `buffer` on entry;
 * bytes needed, the NUL included, on return. Null `buffer`: only the length is told. Errors:
 * PLAN_MISMATCH, DATA_LOSS, INVALID_ARGUMENT; OUT_OF_RANGE if the buffer is too short, then
 * `*length` is set all the same.
 */
onebeat_status onebeat_show_plan(const onebeat_planner* planner, int32_t class_index,
                                 const onebeat_plan* plan, onebeat_plan_format format, char* buffer,
                                 size_t* length, onebeat_error* error);

#ifdef __cplusplus
}
#endif

#endif /* ONEBEAT_C_PLANNER_H */
