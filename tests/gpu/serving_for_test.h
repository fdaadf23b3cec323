// SPDX-License-Identifier: Apache-2.0
// A small server, twice: on the device as a captured graph of prepare_step and a few layers (append
// of the new tokens, attention), and on the host with the CPU twins. Requests join, grow and leave;
// pages and rows are given to others; what nobody owns is NaN, or an id that no pool has. After
// every step both must agree.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "device/cuda_stream.h"
#include "onebeat/attention_cuda.h"
#include "onebeat/step_cuda.h"
#include "onebeat/thread_pool.h"
#include "twin_memory.h"

namespace onebeat::gpu_test {

struct ServingOptions {
  std::vector<StepClass> classes = {};
  std::vector<std::int32_t> layers = {};  ///< The class of each layer.
  std::int32_t most_requests = 12;        ///< B that the graph is captured for.
  std::int32_t context = 640;             ///< Longest request.
  std::int32_t prompt = 400;              ///< Longest prompt.
  bool unequal_query_tokens = false;      ///< T_b from 0 to the largest, else always the largest.
  bool free_behind_windows = false;       ///< Pages that no window reaches any more go to others.
  /// Attention reads tables that prepare_step makes (classes with a window the window table)
  /// instead of the page map's rows.
  TableContract tables = TableContract::kNone;
  KvLayout layout = KvLayout::kNhd;
  CudaOverlap overlap = CudaOverlap::kEarlyLoads;
  std::string_view variant = {};
  unsigned seed = 1;
};

class Serving {
 public:
  Serving(ServingOptions options, cudaStream_t stream);

  /// Makes a request of `prompt` tokens (0 is allowed) the last of the batch; its prompt's K and V
  /// are in the cache.
  void join(std::int32_t prompt);
  /// The last request takes the place of the one that leaves.
  void leave(std::int32_t request);
  [[nodiscard]] std::int32_t active() const { return static_cast<std::int32_t>(batch_.size()); }
  [[nodiscard]] std::int32_t length(std::int32_t request) const {
    return lens_.host[static_cast<std::size_t>(batch_[static_cast<std::size_t>(request)])];
  }
  [[nodiscard]] std::int32_t random_below(std::int32_t n) {
    return static_cast<std::int32_t>(random_() % static_cast<unsigned>(n));
  }

  /// Random joins, leaves of those that are long or unlucky, towards `wanted` requests.
  void change_batch(std::int32_t wanted);

  /// Decides a step: reserves pages, draws queries and new K and V, and stages it all to the
  /// device, through a ring of two pinned slots. `ahead`: without forgetting faults of steps in
  /// flight.
  void stage(bool ahead = false);
  /// Enqueues the captured step.
  void replay();
  /// Executes the staged step on the host.
  void run_on_host();
  /// Only its prepare_step.
  void prepare_on_host();
  /// Compares everything that a step writes. `with_oracle`: also with fp64 attention that knows no
  /// plan.
  void expect_same(bool with_oracle);
  /// K and V of all layers are the same everywhere, pages that nobody owns included.
  void expect_same_cache() const;
  /// stage, replay and run_on_host, as an engine does it: the host waits for no step, only for a
  /// slot of the ring.
  void step_ahead();
  /// stage, replay, run_on_host, expect_same; stops at the first failure.
  void step(bool with_oracle = false);

  /// What the graph records; for tests that capture another one. `damage` runs between prepare_step
  /// and the first layer.
  template <typename Damage>
  [[nodiscard]] Result<CudaGraph> capture(Damage&& damage, bool advance) {
    return CudaGraph::capture(stream_, [&](cudaStream_t s) -> Status {
      ONEBEAT_RETURN_IF_ERROR(enqueue_prepare(s));
      ONEBEAT_RETURN_IF_ERROR(damage(s));
      return enqueue_layers(s, advance);
    });
  }

  [[nodiscard]] const CudaGraph& graph() const { return graph_; }
  [[nodiscard]] Twin<PlanHeader>& plan(std::int32_t of_class) {
    return plans_[static_cast<std::size_t>(of_class)];
  }
  [[nodiscard]] std::vector<std::uint32_t> counters(std::int32_t of_class) const {
    return counters_[static_cast<std::size_t>(of_class)].fetch(stream_);
  }
  [[nodiscard]] std::vector<std::uint16_t> output_bits(std::size_t layer) const {
    return value_of(layers_[layer].out.download(stream_));
  }
  /// Fault bits since the last step was staged.
  [[nodiscard]] std::uint32_t faults() const { return *faults_.data(); }
  /// Outputs, log-sum-exps and sums of both sides forget what they held.
  void forget_results(bool faults_too = true);
  /// Numbers that the device reads (what was staged, its lengths, the page map) become others, any
  /// at all; on the host they stay.
  void scramble();
  /// The device holds again what the host holds.
  void restore();
  /// Scratch of all classes becomes NaN on the device.
  void poison_scratch();
  [[nodiscard]] cudaStream_t stream() const { return stream_; }

 private:
  struct Layer {
    std::int32_t of_class = 0;
    Twin<std::uint16_t> k, v;          // the pool
    Twin<std::uint16_t> new_k, new_v;  // [tokens, G, D]
    DeviceBuffer<std::uint16_t> out;
    std::vector<float> host_out, host_lse;
    DeviceBuffer<float> lse;
  };
  struct Scratch {
    DeviceBuffer<float> outputs, stats;
    std::vector<float> host_outputs, host_stats;
    std::vector<std::uint32_t> host_counters;
  };
  /// Where the parts of the staged numbers begin.
  struct Staging {
    std::size_t rows_of, query_tokens, update_begin, updates, size;
  };

  void make_layers();
  void make_classes();
  void make_step();
  [[nodiscard]] StepArguments arguments(bool on_device);
  [[nodiscard]] KvPool pool(Layer& layer, bool on_device);
  [[nodiscard]] PageMap pages_of(const Layer& layer, bool on_device);
  Status enqueue_prepare(cudaStream_t s);
  Status enqueue_layers(cudaStream_t s, bool advance);
  [[nodiscard]] CudaAttentionLaunch device_launch(Layer& layer);
  [[nodiscard]] AttentionLaunch host_launch(Layer& layer);

  [[nodiscard]] const AttentionGeometry& geometry(std::int32_t of_class) const {
    return options_.classes[static_cast<std::size_t>(of_class)].geometry;
  }
  [[nodiscard]] std::int32_t tokens_of_batch() const;
  [[nodiscard]] std::int32_t first_seen(std::int32_t position) const;
  [[nodiscard]] std::size_t entry(std::int32_t row, std::int32_t column) const {
    return static_cast<std::size_t>(row * columns_ + column);
  }
  void reserve(std::int32_t row, std::int32_t len);
  void free_page(std::int32_t row, std::int32_t column);
  void put_token(Layer& layer, std::int64_t slot, std::size_t token);
  void copy_page(Layer& layer, std::int32_t page, bool poison);
  void compare_layer(std::size_t index, bool with_oracle);
  std::uint16_t random_bf16();

  static constexpr std::int32_t kNoPage = 0x7ffffff0;

  ServingOptions options_;
  cudaStream_t stream_;
  std::mt19937 random_;
  std::int32_t page_tokens_ = 1, most_tokens_ = 1, num_rows_ = 0, columns_ = 0, num_pages_ = 0;
  std::vector<std::int32_t> batch_;  // the row of each request
  std::vector<std::int32_t> free_rows_, free_pages_;
  std::vector<std::int32_t> owned_;     // page of each (row, column), or -1
  std::vector<std::int32_t> reserved_;  // of each row: columns that were given a page, ever
  std::vector<std::vector<PageUpdate>> pending_;  // of each row: what the next step is to apply

  std::unique_ptr<StepPlanner> planner_;
  std::unique_ptr<CudaStepPreparer> preparer_;
  std::vector<CudaDecodeAttention> attention_;
  std::unique_ptr<ThreadPool> threads_;
  Staging staging_{};
  Twin<std::int32_t> staged_, lens_, page_rows_, sums_, table_, window_table_;
  PinnedBuffer<std::int32_t> ring_[2];
  CudaEvent slot_is_free_[2];
  std::uint64_t steps_ = 0;
  std::vector<Twin<PlanHeader>> plans_;
  std::vector<Twin<std::uint32_t>> counters_;
  std::vector<Scratch> scratch_;
  std::vector<Layer> layers_;
  Twin<std::uint16_t> q_;
  std::vector<float> host_q_;
  PinnedBuffer<std::uint32_t> faults_;
  CudaGraph graph_;
};

}  // namespace onebeat::gpu_test
