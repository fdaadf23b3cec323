// SPDX-License-Identifier: Apache-2.0
#include "bench/linear_workload.h"

#include <algorithm>
#include <random>

#include "base/error.h"

namespace onebeat::cli {
namespace {

/// Random bf16 numbers are made for so many elements, and repeated: more than any L2 holds.
constexpr std::size_t kPatternElements = std::size_t{1} << 26;
/// So small that activations stay finite through any number of replays.
constexpr int kWeightExponent = -10;
constexpr std::size_t kScratchFloats = std::size_t{1} << 25;
constexpr std::size_t kCounters = 1 << 16;

std::size_t elements_of(const CudaLinearShape& shape) {
  return static_cast<std::size_t>(shape.outputs) * static_cast<std::size_t>(shape.inputs);
}

/// bf16 numbers of magnitude 2^(exponent - 1) to 2^(exponent + 1).
std::vector<std::uint16_t> random_bf16(std::size_t count, int exponent) {
  std::mt19937 random(7);
  std::vector<std::uint16_t> values(count);
  const auto top = static_cast<std::uint32_t>(127 + exponent);
  for (std::size_t i = 0; i < count; ++i) {
    const auto bits = static_cast<std::uint32_t>(random());
    values[i] = static_cast<std::uint16_t>((bits & 0x807fu) | (top - (bits >> 8 & 1u)) << 7);
  }
  return values;
}

}  // namespace

std::vector<LinearModel> linear_models() {
  return {{"llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256},
          {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256},
          {"qwen3-0.6b", 28, 1024, 3072, 16, 8, 128, 151936},
          {"qwen3-8b", 36, 4096, 12288, 32, 8, 128, 151936}};
}

CudaLinearShape product_shape(const LinearModel& model, LinearProduct product) {
  switch (product) {
    case kQkv:
      return {(model.heads + 2 * model.kv_heads) * model.head_dim, model.hidden};
    case kOut:
      return {model.hidden, model.heads * model.head_dim};
    case kGateUp:
      return {2 * model.intermediate, model.hidden};
    case kDown:
      return {model.hidden, model.intermediate};
    case kHead:
      break;
  }
  return {model.vocabulary, model.hidden};
}

Result<LinearWorkload> LinearWorkload::create(const LinearModel& model,
                                              const CudaDeviceFacts& facts, cudaStream_t stream) {
  LinearWorkload w;
  w.model_ = model;
  w.stream_ = stream;
  for (const LinearProduct product : {kQkv, kOut, kGateUp, kDown}) {
    w.offset_[product] = w.layer_elements_;
    w.layer_elements_ += elements_of(product_shape(model, product));
  }
  const std::size_t head = elements_of(product_shape(model, kHead));
  constexpr std::size_t kReserve = std::size_t{1} << 30;
  const std::size_t room = facts.memory_free_bytes - std::min(facts.memory_free_bytes, kReserve);
  const std::size_t most = (room - std::min(room, head * 2)) / (w.layer_elements_ * 2);
  w.layers_ = static_cast<std::int32_t>(
      std::min<std::size_t>(most, static_cast<std::size_t>(model.layers)));
  if (w.layers_ < 1 ||
      w.layer_elements_ * 2 * static_cast<std::size_t>(w.layers_) < 2 * facts.l2_bytes) {
    return resource_exhausted(
        "{} bytes of device memory are free; the head and enough layers of {} for a measurement "
        "need {}",
        facts.memory_free_bytes, model.name,
        kReserve + head * 2 + w.layer_elements_ * 2 + 2 * facts.l2_bytes);
  }
  ONEBEAT_ASSIGN_OR_RETURN(w.begin_, CudaEvent::create());
  ONEBEAT_ASSIGN_OR_RETURN(w.end_, CudaEvent::create());
  const std::size_t count = w.layer_elements_ * static_cast<std::size_t>(w.layers_) + head;
  w.offset_[kHead] = count - head;
  ONEBEAT_ASSIGN_OR_RETURN(w.weights_, DeviceBuffer<std::uint16_t>::allocate(count));
  const std::vector<std::uint16_t> pattern = random_bf16(kPatternElements, kWeightExponent);
  for (std::size_t at = 0; at < count; at += pattern.size()) {
    const std::size_t n = std::min(pattern.size(), count - at);
    ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(w.weights_.data() + at,
                                                 at == 0 ? pattern.data() : w.weights_.data(),
                                                 n * 2, cudaMemcpyDefault, stream));
  }
  const auto rows = static_cast<std::size_t>(CudaLinear::kMaxRows);
  const auto width =
      static_cast<std::size_t>(std::max(model.hidden, product_shape(model, kQkv).outputs));
  ONEBEAT_ASSIGN_OR_RETURN(
      w.hidden_, DeviceBuffer<std::uint16_t>::copy_of(
                     random_bf16(rows * static_cast<std::size_t>(model.hidden), 0), stream));
  ONEBEAT_ASSIGN_OR_RETURN(
      w.qkv_, DeviceBuffer<std::uint16_t>::copy_of(random_bf16(rows * width, 0), stream));
  ONEBEAT_ASSIGN_OR_RETURN(
      w.gated_, DeviceBuffer<std::uint16_t>::copy_of(
                    random_bf16(rows * static_cast<std::size_t>(model.intermediate), 0), stream));
  ONEBEAT_ASSIGN_OR_RETURN(
      w.logits_, DeviceBuffer<float>::allocate(rows * static_cast<std::size_t>(model.vocabulary)));
  ONEBEAT_ASSIGN_OR_RETURN(w.partials_, DeviceBuffer<float>::allocate(kScratchFloats));
  ONEBEAT_ASSIGN_OR_RETURN(w.counters_, DeviceBuffer<std::uint32_t>::allocate(kCounters));
  ONEBEAT_RETURN_IF_ERROR(w.counters_.fill_bytes(0, stream));
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return Result<LinearWorkload>(std::move(w));
}

double LinearWorkload::bytes(LinearProduct product, std::int32_t rows) const {
  const CudaLinearShape shape = product_shape(model_, product);
  const double outputs = product == kHead     ? 2.0 * shape.outputs
                         : product == kGateUp ? 0.5 * shape.outputs
                                              : shape.outputs;
  return 2.0 * (static_cast<double>(elements_of(shape)) +
                static_cast<double>(rows) * (shape.inputs + outputs));
}

double LinearWorkload::step_bytes(std::int32_t rows) const {
  double sum = bytes(kHead, rows);
  for (const LinearProduct product : {kQkv, kOut, kGateUp, kDown})
    sum += layers_ * bytes(product, rows);
  return sum;
}

const std::uint16_t* LinearWorkload::weight(LinearProduct product, std::int32_t layer) const {
  const std::size_t layers_before = product == kHead ? 0 : static_cast<std::size_t>(layer);
  return weights_.data() + offset_[product] + layers_before * layer_elements_;
}

CudaLinearScratch LinearWorkload::scratch() const {
  return {{partials_.data(), partials_.size()}, {counters_.data(), counters_.size()}};
}

CudaLinearLaunch LinearWorkload::launch_of(LinearProduct product, std::int32_t layer,
                                           std::int32_t rows) const {
  const CudaLinearShape shape = product_shape(model_, product);
  CudaLinearLaunch l;
  l.weight = weight(product, layer);
  l.weight_stride = shape.inputs;
  l.rows = rows;
  l.y_stride = shape.outputs;
  const auto reads = [&](const DeviceBuffer<std::uint16_t>& x, std::int64_t stride) {
    l.x = x.data();
    l.x_stride = stride;
  };
  const auto reads_normed_hidden = [&] {
    reads(hidden_, model_.hidden);
    l.norm_epsilon = 1e-5f;
  };
  const auto adds_to_hidden = [&] {
    l.y = hidden_.data();
    l.residual = hidden_.data();
    l.y_stride = l.residual_stride = model_.hidden;
  };
  switch (product) {
    case kQkv:
      reads_normed_hidden();
      l.y = qkv_.data();
      break;
    case kOut:  // in the place of attention's output: that of qkv
      reads(qkv_, product_shape(model_, kQkv).outputs);
      adds_to_hidden();
      break;
    case kGateUp:
      reads_normed_hidden();
      l.y = gated_.data();
      l.y_stride = model_.intermediate;
      l.activation = CudaLinearActivation::kSiluMul;
      break;
    case kDown:
      reads(gated_, model_.intermediate);
      adds_to_hidden();
      break;
    case kHead:
      reads_normed_hidden();
      l.y = logits_.data();
      l.y_is_float = true;
      break;
  }
  return l;
}

Result<LinearTime> LinearWorkload::time_product(const CudaLinear& linear, LinearProduct product,
                                                std::int32_t rows, bool overlap) const {
  const int launches = product == kHead ? 4 : layers_;
  ONEBEAT_ASSIGN_OR_RETURN(const CudaGraph graph,
                           CudaGraph::capture(stream_, [&](cudaStream_t s) -> Status {
                             for (int i = 0; i < launches; ++i) {
                               CudaLinearLaunch l = launch_of(product, i, rows);
                               l.overlap = overlap && i > 0;
                               ONEBEAT_RETURN_IF_ERROR(linear.launch(l, scratch(), s));
                             }
                             return {};
                           }));
  return time_graph(graph, launches);
}

Result<LinearTime> LinearWorkload::time_step(const Linears& linears, std::int32_t rows,
                                             bool overlap) const {
  ONEBEAT_ASSIGN_OR_RETURN(const CudaGraph graph,
                           CudaGraph::capture(stream_, [&](cudaStream_t s) -> Status {
                             for (std::int32_t layer = 0; layer < layers_; ++layer) {
                               for (const LinearProduct product : {kQkv, kOut, kGateUp, kDown}) {
                                 CudaLinearLaunch l = launch_of(product, layer, rows);
                                 l.overlap = overlap && (layer > 0 || product != kQkv);
                                 ONEBEAT_RETURN_IF_ERROR(linears[product]->launch(l, scratch(), s));
                               }
                             }
                             CudaLinearLaunch l = launch_of(kHead, 0, rows);
                             l.overlap = overlap;
                             return linears[kHead]->launch(l, scratch(), s);
                           }));
  return time_graph(graph, 1);
}

Result<LinearTime> LinearWorkload::time_graph(const CudaGraph& graph, int launches) const {
  constexpr int kWarmUps = 2, kRuns = 9;
  std::vector<float> times;
  for (int run = 0; run < kWarmUps + kRuns; ++run) {
    ONEBEAT_RETURN_IF_ERROR(begin_.record(stream_));
    ONEBEAT_RETURN_IF_ERROR(graph.launch(stream_));
    ONEBEAT_RETURN_IF_ERROR(end_.record(stream_));
    ONEBEAT_ASSIGN_OR_RETURN(const float us, end_.microseconds_since(begin_));
    if (run >= kWarmUps) times.push_back(us / static_cast<float>(launches));
  }
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  return LinearTime{median, (times.back() - times.front()) / median};
}

}  // namespace onebeat::cli
