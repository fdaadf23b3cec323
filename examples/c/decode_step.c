// SPDX-License-Identifier: Apache-2.0
// One decode step through the C ABI: plans it, runs attention of one layer and checks the result
// against a naive loop. Runs on the processor; built with -DONEBEAT_EXAMPLE_CUDA and the CUDA
// runtime, on a GPU if there is one.
//
//   cc decode_step.c $(pkg-config --cflags --libs onebeat) -lm
#include <math.h>
#include <onebeat/onebeat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ONEBEAT_EXAMPLE_CUDA
#include <cuda_runtime_api.h>
#endif

// Four requests of one layer: 8 query heads share 2 KV heads of 64 elements.
enum { kRequests = 4, kHeads = 8, kKvHeads = 2, kDim = 64, kPage = 16, kPages = 256 };
enum { kColumns = 160 };  // of the page map
static const int32_t kLens[kRequests] = {2000, 1, 333, 64};

// ---- Where it runs ------------------------------------------------------------------------------

// ONEBEAT_CPU, or a CUDA device. Its memory is taken where both it and this program can read it, so
// that there are no copies to follow.
typedef struct {
  int32_t device;
  onebeat_type rows;  // element type of queries and outputs
} Place;

static Place choose_place(void) {
#ifdef ONEBEAT_EXAMPLE_CUDA
  int count = 0;
  if (onebeat_has_cuda() && cudaGetDeviceCount(&count) == cudaSuccess && count > 0) {
    return (Place){0, ONEBEAT_TYPE_BF16};
  }
#endif
  return (Place){ONEBEAT_CPU, ONEBEAT_TYPE_F32};
}

static void* get_memory(Place place, size_t bytes) {
  void* memory = NULL;
#ifdef ONEBEAT_EXAMPLE_CUDA
  if (place.device != ONEBEAT_CPU) {
    if (cudaMallocManaged(&memory, bytes, cudaMemAttachGlobal) != cudaSuccess) exit(1);
  }
#endif
  if (place.device == ONEBEAT_CPU) memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (memory == NULL) exit(1);
  memset(memory, 0, bytes);
  return memory;
}

static void free_memory(Place place, void* memory) {
#ifdef ONEBEAT_EXAMPLE_CUDA
  if (place.device != ONEBEAT_CPU) cudaFree(memory);
#endif
  if (place.device == ONEBEAT_CPU) free(memory);
}

static void wait_for(Place place) {
#ifdef ONEBEAT_EXAMPLE_CUDA
  if (place.device != ONEBEAT_CPU && cudaDeviceSynchronize() != cudaSuccess) exit(1);
#endif
  (void)place;
}

// ---- Numbers ------------------------------------------------------------------------------------

static float to_float(uint16_t bf16) {
  const uint32_t bits = (uint32_t)bf16 << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint16_t to_bf16(float value) {  // cut off, not rounded: any number will do here
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static float get(const void* data, onebeat_type type, int64_t at) {
  return type == ONEBEAT_TYPE_F32 ? ((const float*)data)[at]
                                  : to_float(((const uint16_t*)data)[at]);
}

static void put(void* data, onebeat_type type, int64_t at, float value) {
  if (type == ONEBEAT_TYPE_F32) {
    ((float*)data)[at] = value;
  } else {
    ((uint16_t*)data)[at] = to_bf16(value);
  }
}

static void fill(void* data, onebeat_type type, int64_t count, uint32_t seed) {
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    put(data, type, i, (float)(seed >> 8) / (float)(1 << 23) - 1.0f);
  }
}

// ---- The step -----------------------------------------------------------------------------------

// Ends the program with the message of a call that failed.
static void expect_ok(onebeat_status status, const onebeat_error* error, const char* call) {
  if (status == ONEBEAT_OK) return;
  fprintf(stderr, "%s: %s: %s\n", call, onebeat_status_name(status), error->message);
  exit(1);
}
#define CHECK(call) expect_ok(call, &error, #call)

// The textbook's attention of one query: softmax(scale * q . k) weighs the values. `pages` is the
// request's row of the page map.
static void naive_attention(const onebeat_attention_launch* launch, int request, int head,
                            double out[kDim]) {
  const onebeat_kv_pool* kv = &launch->kv;
  const int32_t* pages = launch->pages.pages + request * launch->pages.row_stride;
  const int64_t q = request * launch->q.token_stride + head * launch->q.head_stride;
  const int64_t kv_head = head / (kHeads / kKvHeads);
  double sum = 0;
  memset(out, 0, kDim * sizeof *out);
  for (int t = 0; t < kLens[request]; ++t) {
    const int64_t k = pages[t / kPage] * kv->k_page_stride + t % kPage * kv->k_token_stride +
                      kv_head * kv->k_head_stride;
    const int64_t v = pages[t / kPage] * kv->v_page_stride + t % kPage * kv->v_token_stride +
                      kv_head * kv->v_head_stride;
    double score = 0;
    for (int d = 0; d < kDim; ++d) {
      score += (double)get(launch->q.data, launch->q.type, q + d) * get(kv->k, kv->type, k + d);
    }
    const double weight = exp(launch->scale * score);
    sum += weight;
    for (int d = 0; d < kDim; ++d) out[d] += weight * get(kv->v, kv->type, v + d);
  }
  for (int d = 0; d < kDim; ++d) out[d] /= sum;
}

static double largest_difference(const onebeat_attention_launch* launch) {
  double largest = 0;
  for (int request = 0; request < kRequests; ++request) {
    for (int head = 0; head < kHeads; ++head) {
      double expected[kDim];
      naive_attention(launch, request, head, expected);
      const int64_t at = request * launch->out.token_stride + head * launch->out.head_stride;
      for (int d = 0; d < kDim; ++d) {
        const double got = get(launch->out.data, launch->out.type, at + d);
        const double difference = fabs(got - expected[d]);
        if (!(difference <= largest)) largest = difference;  // keeps a NaN
      }
    }
  }
  return largest;
}

int main(void) {
  if (onebeat_abi_version() != ONEBEAT_ABI_VERSION) {
    fprintf(stderr, "the library has ABI %u, the header %u\n", onebeat_abi_version(),
            ONEBEAT_ABI_VERSION);
    return 1;
  }
  onebeat_error error = onebeat_error_init();
  const Place place = choose_place();

  // The class of layers, divided as suits the device.
  onebeat_geometry geometry = onebeat_geometry_init();
  geometry.num_heads = kHeads;
  geometry.num_kv_heads = kKvHeads;
  geometry.head_dim = kDim;
  geometry.head_dim_v = kDim;
  geometry.page_tokens = kPage;
  onebeat_cost_model cost = onebeat_cost_model_init();
  CHECK(onebeat_tune(place.device, &geometry, &cost, &error));

  // A planner for steps of up to kRequests, and what executes its plans.
  onebeat_limits limits = onebeat_limits_init();
  limits.max_requests = kRequests;
  limits.max_context_tokens = kColumns * kPage;
  limits.page_tokens = kPage;
  const onebeat_geometry* geometries[] = {&geometry};
  const onebeat_cost_model* costs[] = {&cost};
  onebeat_planner* planner = NULL;
  CHECK(onebeat_planner_create(place.device, geometries, costs, 1, &limits, &planner, &error));

  onebeat_thread_pool* pool = NULL;
  onebeat_attention* attention = NULL;
  if (place.device == ONEBEAT_CPU) {
    CHECK(onebeat_thread_pool_create(0, &pool, &error));
    CHECK(onebeat_cpu_attention_create(&geometry, pool, NULL, &attention, &error));
  } else {
    CHECK(onebeat_cuda_attention_create(place.device, &geometry, NULL, &attention, &error));
  }

  // Memory: the plan, scratch for split units, the cache, the page map, queries and outputs.
  onebeat_sizes sizes = onebeat_sizes_init();
  CHECK(onebeat_planner_sizes(planner, 0, &sizes, &error));
  void* plan_bytes = get_memory(place, (size_t)sizes.plan_bytes);
  onebeat_scratch scratch = onebeat_scratch_init();
  scratch.output_floats = sizes.scratch_output_floats;
  scratch.stats_floats = sizes.scratch_stats_floats;
  scratch.num_counters = sizes.scratch_counters;
  scratch.outputs = get_memory(place, (size_t)scratch.output_floats * sizeof(float));
  scratch.stats = get_memory(place, (size_t)scratch.stats_floats * sizeof(float));
  scratch.counters = get_memory(place, (size_t)scratch.num_counters * sizeof(uint32_t));

  const int64_t cache_elements = (int64_t)kPages * kPage * kKvHeads * kDim;
  void* k = get_memory(place, (size_t)cache_elements * sizeof(uint16_t));
  void* v = get_memory(place, (size_t)cache_elements * sizeof(uint16_t));
  fill(k, ONEBEAT_TYPE_BF16, cache_elements, 1);
  fill(v, ONEBEAT_TYPE_BF16, cache_elements, 2);
  int32_t* pages = get_memory(place, kRequests * kColumns * sizeof *pages);
  for (int i = 0, page = 0; i < kRequests; ++i) {
    for (int p = 0; p * kPage < kLens[i]; ++p) pages[i * kColumns + p] = page++ * 37 % kPages;
  }
  int32_t* lens = get_memory(place, sizeof kLens);
  memcpy(lens, kLens, sizeof kLens);
  uint32_t* faults = get_memory(place, sizeof *faults);
  const int64_t row_elements = (int64_t)kRequests * kHeads * kDim;
  void* q = get_memory(place, (size_t)row_elements * sizeof(float));
  void* out = get_memory(place, (size_t)row_elements * sizeof(float));
  fill(q, place.rows, row_elements, 3);

  // Once a step: the plan.
  onebeat_launch_record records[2];
  onebeat_trace trace = onebeat_trace_init(records, 2);
  onebeat_step step = onebeat_step_init();
  step.num_requests = kRequests;
  step.lens = onebeat_i32_array(lens, kRequests);
  step.plans[0] = plan_bytes;
  step.counters[0] = scratch.counters;
  step.faults = faults;
  step.trace = &trace;
  CHECK(onebeat_prepare_step(planner, &step, NULL, &error));

  // Once a layer: attention as the plan divides it.
  onebeat_plan plan = onebeat_plan_init();
  CHECK(onebeat_planner_plan(planner, 0, plan_bytes, 1, &plan, &error));
  onebeat_attention_launch launch = onebeat_attention_launch_init();
  launch.q = onebeat_dense_rows(q, place.rows, kRequests, kHeads, kDim);
  launch.out = onebeat_dense_rows(out, place.rows, kRequests, kHeads, kDim);
  launch.scale = 0.125f;  // 1 / sqrt(kDim)
  CHECK(onebeat_kv_pool_describe(&geometry, ONEBEAT_KV_RUNS, kPages, k, v, &launch.kv, &error));
  launch.pages = (onebeat_page_map){pages, kColumns, kRequests, kColumns, NULL};
  launch.faults = faults;
  launch.trace = &trace;
  CHECK(onebeat_decode_attention(attention, &plan, &launch, &scratch, NULL, &error));
  wait_for(place);

  // Was it right?
  CHECK(onebeat_check_plan(planner, 0, &plan, kLens, NULL, kRequests, &error));
  for (uint64_t i = 0; i < trace.count; ++i) {
    printf("%s: %s\n", records[i].operation, records[i].kernel);
  }
  const double difference = largest_difference(&launch);
  const double allowed = place.device == ONEBEAT_CPU ? 1e-5 : 1e-2;  // bf16 outputs on a GPU
  printf("%d requests on %s, faults %u, largest difference %.2g\n", kRequests,
         place.device == ONEBEAT_CPU ? "the CPU" : "a GPU", *faults, difference);

  void* memory[] = {plan_bytes, scratch.outputs, scratch.stats, scratch.counters, k,
                    v,          pages,           lens,          faults,           q,
                    out};
  const int is_right = difference <= allowed && *faults == 0;
  for (size_t i = 0; i < sizeof memory / sizeof *memory; ++i) free_memory(place, memory[i]);
  onebeat_attention_destroy(attention);
  onebeat_thread_pool_destroy(pool);
  onebeat_planner_destroy(planner);
  return is_right ? 0 : 1;
}
