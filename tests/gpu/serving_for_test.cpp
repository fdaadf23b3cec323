// SPDX-License-Identifier: Apache-2.0
#include "serving_for_test.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "serving_kernels.h"

namespace onebeat::gpu_test {
namespace {

constexpr std::int32_t kUntouched = -77;
constexpr std::uint16_t kNaN16 = 0xffff;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

}  // namespace

Serving::Serving(ServingOptions options, cudaStream_t stream)
    : options_(std::move(options)), stream_(stream), random_(options_.seed) {
  const AttentionGeometry& g = geometry(0);
  page_tokens_ = g.page_tokens;
  most_tokens_ = options_.most_requests * g.max_query_tokens;
  num_rows_ = options_.most_requests + 2;
  columns_ = (options_.context + page_tokens_ - 1) / page_tokens_ + 2;
  num_pages_ = options_.most_requests * columns_;
  for (std::int32_t r = 0; r < num_rows_; ++r) free_rows_.push_back(r);
  for (std::int32_t p = 0; p < num_pages_; ++p) free_pages_.push_back(p);
  std::shuffle(free_pages_.begin(), free_pages_.end(), random_);
  owned_.assign(entry(num_rows_, 0), -1);
  reserved_.assign(size(num_rows_), 0);
  pending_.resize(size(num_rows_));
  threads_ = value_of(ThreadPool::create(2));
  faults_ = value_of(PinnedBuffer<std::uint32_t>::allocate(1));
  *faults_.data() = 0;
  make_layers();
  make_classes();
  make_step();
  graph_ = value_of(capture([](cudaStream_t) { return Status(); }, true));
}

void Serving::make_layers() {
  for (const std::int32_t of_class : options_.layers) {
    const AttentionGeometry& g = geometry(of_class);
    const std::size_t pool_size =
        size(std::int64_t{num_pages_} * page_tokens_ * g.num_kv_heads * g.head_dim);
    const std::size_t new_size = size(std::int64_t{most_tokens_} * g.num_kv_heads * g.head_dim);
    const std::size_t out_size = size(std::int64_t{most_tokens_} * g.num_heads * g.head_dim);
    Layer layer;
    layer.of_class = of_class;
    layer.k = Twin<std::uint16_t>(pool_size, kNaN16, stream_);
    layer.v = Twin<std::uint16_t>(pool_size, kNaN16, stream_);
    layer.new_k = Twin<std::uint16_t>(new_size, kNaN16, stream_);
    layer.new_v = Twin<std::uint16_t>(new_size, kNaN16, stream_);
    layer.out = value_of(DeviceBuffer<std::uint16_t>::allocate(out_size));
    layer.lse = value_of(DeviceBuffer<float>::allocate(size(most_tokens_ * g.num_heads)));
    layer.host_out.resize(out_size);
    layer.host_lse.resize(layer.lse.size());
    if (q_.host.size() < out_size) q_ = Twin<std::uint16_t>(out_size, kNaN16, stream_);
    layers_.push_back(std::move(layer));
  }
  host_q_.assign(q_.host.size(), kNaN);
}

void Serving::make_classes() {
  planner_ = std::make_unique<StepPlanner>(value_of(StepPlanner::create(
      options_.classes, page_tokens_,
      {options_.most_requests, std::int64_t{options_.context}, geometry(0).max_query_tokens})));
  preparer_ = std::make_unique<CudaStepPreparer>(value_of(CudaStepPreparer::create(*planner_)));
  for (std::int32_t c = 0; c < planner_->num_classes(); ++c) {
    attention_.push_back(value_of(CudaDecodeAttention::create(geometry(c), options_.variant)));
    plans_.emplace_back(planner_->plan_bytes(c) / sizeof(PlanHeader) + 1, PlanHeader(), stream_);
    const ScratchSize needed = planner_->planner(c).scratch_size();
    counters_.emplace_back(size(needed.counters), 0xdeadbeefu, stream_);
    Scratch scratch;
    scratch.outputs = value_of(DeviceBuffer<float>::allocate(size(needed.output_floats)));
    scratch.stats = value_of(DeviceBuffer<float>::allocate(size(needed.stats_floats)));
    scratch.host_outputs.assign(size(needed.output_floats), kNaN);
    scratch.host_stats.assign(size(needed.stats_floats), kNaN);
    scratch.host_counters.assign(size(needed.counters), 0);
    scratch_.push_back(std::move(scratch));
  }
  poison_scratch();
}

void Serving::make_step() {
  const auto most = size(options_.most_requests);
  staging_.rows_of = 1;
  staging_.query_tokens = staging_.rows_of + most;
  staging_.update_begin = staging_.query_tokens + most;
  staging_.updates = staging_.update_begin + most + 1;
  staging_.size = staging_.updates + 2 * most * size(columns_);
  staged_ = Twin<std::int32_t>(staging_.size, 0, stream_);
  for (auto& slot : ring_) slot = value_of(PinnedBuffer<std::int32_t>::allocate(staging_.size));
  for (CudaEvent& event : slot_is_free_) event = value_of(CudaEvent::create());
  lens_ = Twin<std::int32_t>(size(num_rows_), 0, stream_);
  page_rows_ = Twin<std::int32_t>(owned_.size(), kNoPage, stream_);
  table_ = Twin<std::int32_t>(most * size(columns_), kUntouched, stream_);
  window_table_ = Twin<std::int32_t>(most * size(columns_), kUntouched, stream_);
  sums_ = Twin<std::int32_t>(3 * most + 2 + 2 * size(most_tokens_), kUntouched, stream_);
}

StepArguments Serving::arguments(bool on_device) {
  const auto at = [on_device](Twin<std::int32_t>& twin) {
    return on_device ? twin.device.data() : twin.host.data();
  };
  const std::int32_t most = options_.most_requests;
  const std::int32_t* staged = at(staged_);
  StepArguments step;
  step.num_requests = most;
  step.num_active = staged;
  step.lens = {at(lens_), num_rows_, 1, IndexType::kI32};
  step.lens_by_row = true;
  step.add_query_tokens = true;
  step.query_tokens = {staged + staging_.query_tokens, most, 1, IndexType::kI32};
  step.rows_of = {staged + staging_.rows_of, most, 1, IndexType::kI32};
  step.page_map = PageMapKind::kPages;
  step.pages = {at(page_rows_), num_rows_, columns_, columns_};
  step.pool_pages = num_pages_;
  step.updates = {staged + staging_.update_begin,
                  reinterpret_cast<const PageUpdate*>(staged + staging_.updates),
                  std::int64_t{most} * columns_, at(page_rows_)};
  std::int32_t* sums = at(sums_);
  step.out_lens = {sums, most, 1};
  step.cu_seqlens_q = {sums + most, most + 1, 1};
  step.cu_seqlens_k = {sums + 2 * most + 1, most + 1, 1};
  step.positions = {sums + 3 * most + 2, most_tokens_, 1};
  step.slots = {sums + 3 * most + 2 + most_tokens_, most_tokens_, 1};
  if (options_.tables != TableContract::kNone) {
    step.tables = options_.tables;
    step.dense_pages = columns_ - 1;
    step.page_table = {at(table_), most, columns_, columns_};
    step.window_table = {at(window_table_), most, columns_, columns_};
    step.window_identity = true;
  }
  for (std::size_t c = 0; c < plans_.size(); ++c) {
    step.plans[c] =
        reinterpret_cast<std::byte*>(on_device ? plans_[c].device.data() : plans_[c].host.data());
    step.counters[c] = on_device ? counters_[c].device.data() : counters_[c].host.data();
  }
  return step;
}

KvPool Serving::pool(Layer& layer, bool on_device) {
  return make_kv_pool(geometry(layer.of_class), options_.layout, num_pages_,
                      on_device ? layer.k.device.data() : layer.k.host.data(),
                      on_device ? layer.v.device.data() : layer.v.host.data());
}

PageMap Serving::pages_of(const Layer& layer, bool on_device) {
  const auto at = [on_device](Twin<std::int32_t>& twin) {
    return on_device ? twin.device.data() : twin.host.data();
  };
  if (options_.tables == TableContract::kNone) {
    return {at(page_rows_), columns_, num_rows_, columns_, at(staged_) + staging_.rows_of};
  }
  const bool windowed = geometry(layer.of_class).window_left >= 0;
  return {at(windowed ? window_table_ : table_), columns_, options_.most_requests, columns_,
          nullptr};
}

Status Serving::enqueue_prepare(cudaStream_t s) {
  return preparer_->prepare(arguments(true), {faults_.data(), false}, s);
}

Status Serving::enqueue_layers(cudaStream_t s, bool advance) {
  const bool chained = options_.overlap != CudaOverlap::kNone;
  const StepArguments step = arguments(true);
  for (Layer& layer : layers_) {
    const Append append{layer.new_k.device.data(), layer.new_v.device.data(),
                        step.slots.data,           step.cu_seqlens_q.data,
                        step.num_active,           options_.most_requests,
                        pool(layer, true)};
    ONEBEAT_RETURN_IF_ERROR(cuda_status(launch_append(append, most_tokens_, chained, s), "append"));
    const auto c = size(layer.of_class);
    const AttentionGeometry& g = geometry(layer.of_class);
    const AttentionScratch scratch{{scratch_[c].outputs.data(), scratch_[c].outputs.size()},
                                   {scratch_[c].stats.data(), scratch_[c].stats.size()},
                                   {counters_[c].device.data(), counters_[c].device.size()}};
    ONEBEAT_RETURN_IF_ERROR(
        attention_[c].launch({step.plans[c], plan_stamp(g), g.workers, options_.most_requests},
                             device_launch(layer), scratch, s));
  }
  if (!advance) return {};
  const Advance next{lens_.device.data(),    staged_.device.data() + staging_.rows_of,
                     step.out_lens.data,     step.num_active,
                     options_.most_requests, num_rows_};
  return cuda_status(launch_advance(next, chained, s), "advance");
}

CudaAttentionLaunch Serving::device_launch(Layer& layer) {
  const AttentionGeometry& g = geometry(layer.of_class);
  CudaAttentionLaunch launch;
  launch.q =
      dense_head_rows<const std::uint16_t>(q_.device.data(), most_tokens_, g.num_heads, g.head_dim);
  launch.out = dense_head_rows(layer.out.data(), most_tokens_, g.num_heads, g.head_dim);
  launch.lse = {layer.lse.data(), static_cast<std::int64_t>(layer.lse.size()), 0, g.num_heads, 1};
  launch.score.scale = 1.0f / std::sqrt(static_cast<float>(g.head_dim));
  launch.kv = pool(layer, true);
  launch.pages = pages_of(layer, true);
  launch.overlap = options_.overlap;
  launch.faults = faults_.data();
  return launch;
}

AttentionLaunch Serving::host_launch(Layer& layer) {
  const AttentionGeometry& g = geometry(layer.of_class);
  AttentionLaunch launch;
  launch.q = dense_head_rows<const float>(host_q_.data(), most_tokens_, g.num_heads, g.head_dim);
  launch.out = dense_head_rows(layer.host_out.data(), most_tokens_, g.num_heads, g.head_dim);
  launch.lse = {layer.host_lse.data(), static_cast<std::int64_t>(layer.host_lse.size()), 0,
                g.num_heads, 1};
  launch.score.scale = 1.0f / std::sqrt(static_cast<float>(g.head_dim));
  launch.kv = pool(layer, false);
  launch.pages = pages_of(layer, false);
  return launch;
}

void Serving::scramble() {
  const std::int32_t palette[] = {-1,          0,          1,       num_rows_ - 1,
                                  num_rows_,   num_pages_, 1 << 20, 0x7fffffff,
                                  -0x7fffffff, columns_,   kNoPage, -num_pages_};
  for (Twin<std::int32_t>* twin : {&staged_, &lens_, &page_rows_}) {
    std::vector<std::int32_t> damaged = twin->host;
    const std::int32_t one_of = 1 << random_below(6);
    for (std::int32_t& x : damaged) {
      if (random_below(one_of) != 0) continue;
      x = random_below(4) == 0 ? static_cast<std::int32_t>(random_())
                               : palette[random_() % std::size(palette)];
    }
    EXPECT_TRUE(twin->device.upload(damaged, stream_).ok());
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }
}

void Serving::restore() {
  for (Twin<std::int32_t>* twin : {&staged_, &lens_, &page_rows_}) twin->send(stream_);
  for (Layer& layer : layers_) {
    layer.k.send(stream_);
    layer.v.send(stream_);
  }
  for (Twin<PlanHeader>& plan : plans_) plan.send(stream_);
}

void Serving::poison_scratch() {
  for (Scratch& scratch : scratch_) {
    EXPECT_TRUE(scratch.outputs.fill_bytes(0xff, stream_).ok());
    EXPECT_TRUE(scratch.stats.fill_bytes(0xff, stream_).ok());
  }
}

void Serving::forget_results(bool faults_too) {
  std::fill(sums_.host.begin(), sums_.host.end(), kUntouched);
  sums_.send(stream_);
  for (Twin<std::int32_t>* table : {&table_, &window_table_}) {
    std::fill(table->host.begin(), table->host.end(), kUntouched);
    table->send(stream_);
  }
  for (Layer& layer : layers_) {
    EXPECT_TRUE(layer.out.fill_bytes(0xff, stream_).ok());
    EXPECT_TRUE(layer.lse.fill_bytes(0xff, stream_).ok());
    std::fill(layer.host_out.begin(), layer.host_out.end(), kNaN);
    std::fill(layer.host_lse.begin(), layer.host_lse.end(), kNaN);
  }
  if (faults_too) *faults_.data() = 0;
}

}  // namespace onebeat::gpu_test
