// SPDX-License-Identifier: Apache-2.0
#include "ops/cuda/linear_cuda.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "device/cuda_device.h"
#include "device/cuda_memory.h"
#include "device/cuda_stream.h"

namespace onebeat {
namespace {

constexpr std::uint16_t kNan16 = 0xffff;
constexpr float kEpsilon = 1e-5f;

template <typename T>
T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << to_string(result.status());
  return std::move(result).value();
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

struct Case {
  std::int32_t outputs = 64, inputs = 64, rows = 1;
  std::int32_t weight_pad = 0, x_pad = 0, y_pad = 0;  ///< Elements between rows, multiples of 8.
  CudaLinearActivation activation = CudaLinearActivation::kNone;
  bool residual = false, bias = false, norm = false, y_is_float = false;
  std::int32_t multiprocessors = 4;
  CudaLinearOptions options;

  [[nodiscard]] std::int32_t width() const {
    return activation == CudaLinearActivation::kNone ? outputs : outputs / 2;
  }
};

std::string describe(const Case& c) {
  return "N " + std::to_string(c.outputs) + " K " + std::to_string(c.inputs) + " M " +
         std::to_string(c.rows) + " pads " + std::to_string(c.weight_pad) + " " +
         std::to_string(c.x_pad) + " " + std::to_string(c.y_pad) + " activation " +
         std::to_string(static_cast<int>(c.activation)) + (c.residual ? " residual" : "") +
         (c.bias ? " bias" : "") + (c.norm ? " norm" : "") + (c.y_is_float ? " float" : "") +
         " SMs " + std::to_string(c.multiprocessors) + " variant '" + c.options.variant + "'" +
         (c.options.batch_invariant ? " invariant" : "");
}

/// Rows of random numbers with `pad` NaNs behind each, and a row of NaNs behind all.
std::vector<std::uint16_t> random_rows(std::int32_t rows, std::int32_t columns, std::int32_t pad,
                                       float scale, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<std::uint16_t> values(static_cast<std::size_t>((rows + 1) * (columns + pad)), kNan16);
  for (std::int32_t r = 0; r < rows; ++r) {
    for (std::int32_t c = 0; c < columns; ++c) {
      values[static_cast<std::size_t>(r * (columns + pad) + c)] = to_bf16(uniform(random));
    }
  }
  return values;
}

std::vector<float> random_floats(std::int32_t count, float low, float high, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

/// A case's tensors on both sides.
struct Tensors {
  std::vector<std::uint16_t> weight, x, residual;
  std::vector<float> bias;
  DeviceBuffer<std::uint16_t> d_weight, d_x, d_residual;
  DeviceBuffer<float> d_bias;
  DeviceBuffer<std::byte> d_y;
};

class CudaLinearTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    stream_ = value_of(CudaStream::create());
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  Tensors make(const Case& c, std::mt19937& random) {
    Tensors t;
    const float scale = std::sqrt(3.0f / static_cast<float>(c.inputs));
    t.weight = random_rows(c.outputs, c.inputs, c.weight_pad, scale, random);
    t.x = random_rows(c.rows, c.inputs, c.x_pad, 2.0f, random);
    t.residual = random_rows(c.rows, c.width(), c.y_pad, 3.0f, random);
    t.bias = random_floats(c.outputs, -1, 1, random);
    t.d_weight = value_of(DeviceBuffer<std::uint16_t>::copy_of(t.weight, stream()));
    t.d_x = value_of(DeviceBuffer<std::uint16_t>::copy_of(t.x, stream()));
    t.d_residual = value_of(DeviceBuffer<std::uint16_t>::copy_of(t.residual, stream()));
    t.d_bias = value_of(DeviceBuffer<float>::copy_of(t.bias, stream()));
    const auto elements = static_cast<std::size_t>((c.rows + 1) * (c.width() + c.y_pad));
    t.d_y = value_of(DeviceBuffer<std::byte>::allocate(elements * (c.y_is_float ? 4 : 2)));
    EXPECT_TRUE(t.d_y.fill_bytes(0xff, stream()).ok());
    return t;
  }

  static CudaLinearLaunch launch_of(const Case& c, const Tensors& t) {
    CudaLinearLaunch l;
    l.weight = t.d_weight.data();
    l.weight_stride = c.inputs + c.weight_pad;
    l.x = t.d_x.data();
    l.x_stride = c.inputs + c.x_pad;
    l.rows = c.rows;
    l.y = t.d_y.data();
    l.y_is_float = c.y_is_float;
    l.y_stride = l.residual_stride = c.width() + c.y_pad;
    if (c.residual) l.residual = t.d_residual.data();
    if (c.bias) l.bias = t.d_bias.data();
    if (c.norm) l.norm_epsilon = kEpsilon;
    l.activation = c.activation;
    return l;
  }

  /// Scratch full of NaN, counters zero.
  CudaLinearScratch scratch_for(const CudaLinear& linear) {
    const CudaLinear::ScratchSize size = linear.scratch_size(CudaLinear::kMaxRows);
    partials_ = value_of(DeviceBuffer<float>::allocate(static_cast<std::size_t>(size.partials)));
    counters_ =
        value_of(DeviceBuffer<std::uint32_t>::allocate(static_cast<std::size_t>(size.counters)));
    if (size.partials > 0) {
      EXPECT_TRUE(partials_.fill_bytes(0xff, stream()).ok());
      EXPECT_TRUE(counters_.fill_bytes(0, stream()).ok());
    }
    return {{partials_.data(), partials_.size()}, {counters_.data(), counters_.size()}};
  }

  /// Runs a case twice with one scratch and compares the first result with the oracle, the second
  /// with the first.
  void check(const Case& c, std::uint32_t seed) {
    SCOPED_TRACE(describe(c) + " seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Tensors t = make(c, random);
    Result<CudaLinear> linear =
        CudaLinear::create({c.outputs, c.inputs}, c.multiprocessors, c.options);
    ASSERT_TRUE(linear.ok()) << to_string(linear.status());
    const CudaLinearScratch scratch = scratch_for(*linear);
    const CudaLinearLaunch l = launch_of(c, t);
    const Status first = linear->launch(l, scratch, stream());
    ASSERT_TRUE(first.ok()) << to_string(first);
    const std::vector<std::byte> y = value_of(t.d_y.download(stream()));
    ASSERT_TRUE(linear->launch(l, scratch, stream()).ok());
    const std::vector<std::byte> again = value_of(t.d_y.download(stream()));
    ASSERT_EQ(y, again) << "two launches differ";
    if (counters_.size() > 0) {
      for (const std::uint32_t counter : value_of(counters_.download(stream())))
        ASSERT_EQ(counter, 0u);
    }
    compare(c, t, y);
  }

  static void compare(const Case& c, const Tensors& t, const std::vector<std::byte>& bytes) {
    const auto* y16 = reinterpret_cast<const std::uint16_t*>(bytes.data());
    const auto* y32 = reinterpret_cast<const float*>(bytes.data());
    const auto stride = static_cast<std::size_t>(c.width() + c.y_pad);
    double worst = 0;
    for (std::int32_t m = 0; m < c.rows; ++m) {
      for (std::int32_t n = 0; n < c.width(); ++n) {
        const auto [expected, tolerance] = oracle(c, t, m, n);
        const std::size_t at = static_cast<std::size_t>(m) * stride + static_cast<std::size_t>(n);
        const double got = c.y_is_float ? y32[at] : from_bf16(y16[at]);
        const double error = std::abs(got - expected);
        ASSERT_LE(error, tolerance)
            << "row " << m << " output " << n << ": " << got << ", not " << expected;
        worst = std::max(worst, error / tolerance);
      }
    }
    // What lies between and behind rows is untouched.
    for (std::size_t at = 0; at < (static_cast<std::size_t>(c.rows) + 1) * stride; ++at) {
      if (at % stride < static_cast<std::size_t>(c.width()) &&
          at / stride < static_cast<std::size_t>(c.rows))
        continue;
      const bool untouched =
          c.y_is_float ? std::bit_cast<std::uint32_t>(y32[at]) == 0xffffffffu : y16[at] == kNan16;
      ASSERT_TRUE(untouched) << "element " << at;
    }
    ::testing::Test::RecordProperty("worst_share_of_tolerance", std::to_string(worst));
  }

  struct Expected {
    double value, tolerance;
  };

  /// The sum of output n before the activation, and how far fp32 may be from it.
  static Expected sum_of(const Case& c, const Tensors& t, std::int32_t m, std::int32_t n) {
    double sum = 0, size = 0, squares = 0;
    const std::uint16_t* w =
        t.weight.data() + static_cast<std::ptrdiff_t>(n) * (c.inputs + c.weight_pad);
    const std::uint16_t* x = t.x.data() + static_cast<std::ptrdiff_t>(m) * (c.inputs + c.x_pad);
    for (std::int32_t k = 0; k < c.inputs; ++k) {
      const double product = static_cast<double>(from_bf16(w[k])) * from_bf16(x[k]);
      sum += product;
      size += std::abs(product);
      squares += static_cast<double>(from_bf16(x[k])) * from_bf16(x[k]);
    }
    const double scale = c.norm ? 1 / std::sqrt(squares / c.inputs + kEpsilon) : 1.0;
    const double bias = c.bias ? t.bias[static_cast<std::size_t>(n)] : 0.0;
    return {sum * scale + bias, 4e-6 * (size * scale + std::abs(bias)) + 1e-6};
  }

  static Expected oracle(const Case& c, const Tensors& t, std::int32_t m, std::int32_t n) {
    Expected e{};
    if (c.activation == CudaLinearActivation::kNone) {
      e = sum_of(c, t, m, n);
    } else {
      const Expected gate = sum_of(c, t, m, 2 * n), up = sum_of(c, t, m, 2 * n + 1);
      const double z = gate.value;
      const double act =
          c.activation == CudaLinearActivation::kSiluMul
              ? z / (1 + std::exp(-z))
              : z / 2 *
                    (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
      // The slopes of both activations are at most 1.13.
      e.value = act * up.value;
      e.tolerance = 1.13 * gate.tolerance * std::abs(up.value) + std::abs(act) * up.tolerance +
                    gate.tolerance * up.tolerance + 2e-6 * std::abs(e.value) + 1e-6;
    }
    if (c.residual) {
      e.value += from_bf16(t.residual[static_cast<std::size_t>(m * (c.width() + c.y_pad) + n)]);
      e.tolerance += 1e-6;
    }
    if (!c.y_is_float) e.tolerance += std::abs(e.value) / 255;
    return e;
  }

 private:
  CudaStream stream_;
  DeviceBuffer<float> partials_;
  DeviceBuffer<std::uint32_t> counters_;
};

TEST(CudaLinearKernels, AreNamedOnceAndFitTwiceIntoAMultiprocessor) {
  std::vector<std::string_view> names;
  for (const cuda::FewRowsKernel& kernel : cuda::few_rows_kernels()) {
    names.push_back(kernel.name);
    EXPECT_LE(kernel.shared_bytes, 113 * 1024) << kernel.name;
    EXPECT_NE(kernel.function, nullptr);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_F(CudaLinearTest, EveryKernelAtItsEdges) {
  std::uint32_t seed = 1;
  for (const cuda::FewRowsKernel& kernel : cuda::few_rows_kernels()) {
    for (const std::int32_t rows : {1, kernel.max_rows - 1, kernel.max_rows}) {
      if (rows < 1) continue;
      Case c;
      c.rows = rows;
      c.options.variant = kernel.family;
      c.norm = rows > 1 || kernel.tile_rows == 0;
      c.y_is_float = rows == 1;
      c.multiprocessors = 1;
      // One tile and a bit, odd; K a step and a bit.
      c.outputs = 2 * std::max(kernel.tile_rows, 16) + 5;
      c.inputs = kernel.max_inputs > 0 ? kernel.max_inputs : kernel.step_inputs * 2 + 24;
      check(c, seed++);
      c.inputs = kernel.max_inputs > 2048 ? kernel.max_inputs - 2040 : 8;
      c.multiprocessors = 3;
      check(c, seed++);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaLinearTest, SplitsOfEveryTiledKernel) {
  std::uint32_t seed = 100;
  for (const cuda::FewRowsKernel& kernel : cuda::few_rows_kernels()) {
    if (kernel.tile_rows == 0) continue;
    for (const std::int32_t splits : {2, 3, 8}) {
      Case c;
      c.rows = kernel.max_rows - (splits == 3 ? 1 : 0);
      c.options.variant = std::string(kernel.family) + "/" + std::to_string(splits);
      c.multiprocessors = 4;
      c.outputs = 5 * kernel.tile_rows + 7;
      c.inputs =
          kernel.max_inputs > 0 ? kernel.max_inputs * splits - 40 : kernel.step_inputs * 11 + 8;
      c.residual = true;
      c.norm = splits != 2;
      check(c, seed++);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaLinearTest, SanitizerRandomShapesEpiloguesAndStrides) {
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < 60; ++i) {
    const auto seed = static_cast<std::uint32_t>(random());
    std::mt19937 draw(seed);
    const auto below = [&](std::uint32_t limit) {
      return static_cast<std::int32_t>(draw() % limit);
    };
    Case c;
    c.activation = static_cast<CudaLinearActivation>(below(3));
    c.outputs = 1 + below(700);
    if (c.activation != CudaLinearActivation::kNone) c.outputs += c.outputs % 2;
    c.inputs = 8 * (1 + below(400));
    c.rows = below(4) == 0 ? 1 : 1 + below(64);
    c.weight_pad = below(2) * 8;
    c.x_pad = below(2) * 16;
    c.y_pad = below(3);
    c.residual = below(2) != 0;
    c.bias = below(2) != 0;
    c.norm = below(2) != 0;
    c.y_is_float = below(2) != 0;
    c.multiprocessors = 1 + below(132);
    c.options.batch_invariant = below(3) == 0;
    check(c, seed);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaLinearTest, ShapesOfAModel) {
  std::uint32_t seed = 200;
  for (const std::int32_t rows : {1, 4, 16, 64}) {
    for (const auto& [outputs, inputs] :
         std::vector<std::pair<int, int>>{{6144, 1024}, {256, 4096}, {8192, 512}, {512, 14336}}) {
      Case c;
      c.outputs = outputs;
      c.inputs = inputs;
      c.rows = rows;
      c.residual = outputs < 1000;
      c.multiprocessors = 132;
      if (outputs == 8192) c.activation = CudaLinearActivation::kSiluMul;
      check(c, seed++);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaLinearTest, InvariantModeGivesARowTheSameBitsInAnyCompany) {
  for (const auto& [outputs, inputs] :
       std::vector<std::pair<int, int>>{{1000, 4096}, {6144, 520}, {20000, 136}}) {
    Case all;
    all.outputs = outputs;
    all.inputs = inputs;
    all.rows = 64;
    all.y_is_float = true;
    all.norm = outputs != 1000;
    all.multiprocessors = 132;
    all.options.batch_invariant = true;
    std::mt19937 random(11);
    const Tensors t = make(all, random);
    const CudaLinear linear =
        value_of(CudaLinear::create({outputs, inputs}, all.multiprocessors, all.options));
    const CudaLinearScratch scratch = scratch_for(linear);
    ASSERT_TRUE(linear.launch(launch_of(all, t), scratch, stream()).ok());
    const std::vector<std::byte> together = value_of(t.d_y.download(stream()));
    for (const std::int32_t rows : {1, 2, 7, 8, 9, 16, 17, 32, 33, 63}) {
      // The last rows alone.
      Case some = all;
      some.rows = rows;
      CudaLinearLaunch l = launch_of(some, t);
      l.x += (64 - rows) * l.x_stride;
      l.y = static_cast<float*>(l.y) + (64 - rows) * l.y_stride;
      ASSERT_TRUE(t.d_y.data() != nullptr);
      ASSERT_EQ(cudaMemsetAsync(l.y, 0xff, static_cast<std::size_t>(rows * outputs) * 4, stream()),
                cudaSuccess);
      ASSERT_TRUE(linear.launch(l, scratch, stream()).ok());
      EXPECT_EQ(value_of(t.d_y.download(stream())), together) << rows << " rows of " << outputs;
    }
  }
}

TEST_F(CudaLinearTest, OverlappedChainsInAGraphGiveWhatOrdinaryLaunchesGive) {
  for (const std::int32_t rows : {1, 3, 16, 40}) {
    Case up;
    up.outputs = 2 * 1536;
    up.inputs = 512;
    up.rows = rows;
    up.activation = CudaLinearActivation::kSiluMul;
    up.norm = true;
    up.multiprocessors = 132;
    Case down = up;
    down.outputs = 512;
    down.inputs = 1536;
    down.activation = CudaLinearActivation::kNone;
    down.residual = true;
    down.norm = false;
    std::mt19937 random(static_cast<std::uint32_t>(rows));
    const Tensors up_tensors = make(up, random), down_tensors = make(down, random);
    const CudaLinear up_linear = value_of(CudaLinear::create({up.outputs, up.inputs}, 132));
    const CudaLinear down_linear = value_of(CudaLinear::create({down.outputs, down.inputs}, 132));
    scratch_for(up_linear);
    const CudaLinear::ScratchSize a = up_linear.scratch_size(64), b = down_linear.scratch_size(64);
    const auto partials = value_of(
        DeviceBuffer<float>::allocate(static_cast<std::size_t>(std::max(a.partials, b.partials))));
    auto counters = value_of(DeviceBuffer<std::uint32_t>::allocate(
        static_cast<std::size_t>(std::max(a.counters, b.counters))));
    ASSERT_TRUE(counters.fill_bytes(0, stream()).ok());
    const CudaLinearScratch scratch{{partials.data(), partials.size()},
                                    {counters.data(), counters.size()}};
    // h = x; 12 times: h += down(silu_mul(up(h))).
    const auto hidden = value_of(DeviceBuffer<std::uint16_t>::allocate(up_tensors.x.size()));
    const auto record = [&](cudaStream_t s, bool overlap) -> Status {
      ONEBEAT_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(hidden.data(), up_tensors.d_x.data(),
                                                   hidden.size_bytes(), cudaMemcpyDefault, s));
      for (int layer = 0; layer < 12; ++layer) {
        CudaLinearLaunch l = launch_of(up, up_tensors);
        l.x = hidden.data();
        l.overlap = overlap && layer > 0;
        ONEBEAT_RETURN_IF_ERROR(up_linear.launch(l, scratch, s));
        const std::uint16_t* gated = static_cast<const std::uint16_t*>(l.y);
        l = launch_of(down, down_tensors);
        l.x = gated;
        l.y = hidden.data();
        l.residual = hidden.data();
        l.overlap = overlap;
        ONEBEAT_RETURN_IF_ERROR(down_linear.launch(l, scratch, s));
      }
      return {};
    };
    ASSERT_TRUE(record(stream(), false).ok());
    const auto ordinary = value_of(hidden.download(stream()));
    const CudaGraph graph =
        value_of(CudaGraph::capture(stream(), [&](cudaStream_t s) { return record(s, true); }));
    for (int replay = 0; replay < 50; ++replay) {
      ASSERT_TRUE(graph.launch(stream()).ok());
      ASSERT_EQ(value_of(hidden.download(stream())), ordinary)
          << rows << " rows, replay " << replay;
    }
  }
}

TEST_F(CudaLinearTest, RefusesByName) {
  const auto code = [](const Status& status) { return status.code(); };
  EXPECT_EQ(code(CudaLinear::create({0, 64}, 132).status()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(CudaLinear::create({64, 60}, 132).status()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(CudaLinear::create({64, 64}, 0).status()), StatusCode::kInvalidArgument);
  CudaLinearOptions options;
  options.variant = "abacus";
  const Status unknown = CudaLinear::create({64, 64}, 132, options).status();
  EXPECT_EQ(code(unknown), StatusCode::kUnsupported);
  EXPECT_NE(unknown.message().find("abacus"), std::string::npos);
  options.variant = "mma_r16/x";
  EXPECT_EQ(code(CudaLinear::create({64, 64}, 132, options).status()),
            StatusCode::kInvalidArgument);
  options.variant = "mma_r16/2";  // one step of K cannot be split
  EXPECT_EQ(code(CudaLinear::create({64, 64}, 132, options).status()), StatusCode::kUnsupported);
  options.variant = "stream";
  EXPECT_EQ(code(CudaLinear::create({64, 20000}, 132, options).status()), StatusCode::kUnsupported);

  Case c;
  c.rows = 2;
  std::mt19937 random(1);
  const Tensors t = make(c, random);
  const CudaLinear stream_only = value_of(CudaLinear::create({64, 64}, 132, options));
  EXPECT_EQ(code(stream_only.launch(launch_of(c, t), {}, stream())), StatusCode::kUnsupported);
  const CudaLinear linear = value_of(CudaLinear::create({64, 64}, 132));
  CudaLinearLaunch l = launch_of(c, t);
  l.rows = 65;
  EXPECT_EQ(code(linear.launch(l, {}, stream())), StatusCode::kOutOfRange);
  l = launch_of(c, t);
  l.x += 1;
  EXPECT_EQ(code(linear.launch(l, {}, stream())), StatusCode::kInvalidArgument);
  l = launch_of(c, t);
  l.weight_stride = 56;
  EXPECT_EQ(code(linear.launch(l, {}, stream())), StatusCode::kInvalidArgument);
  l = launch_of(c, t);
  l.y = nullptr;
  EXPECT_EQ(code(linear.launch(l, {}, stream())), StatusCode::kInvalidArgument);
  options.variant = "wgmma_r64/2";
  const CudaLinear split = value_of(CudaLinear::create({64, 1024}, 132, options));
  c.inputs = 1024;
  const Tensors wide = make(c, random);
  EXPECT_EQ(code(split.launch(launch_of(c, wide), {}, stream())), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace onebeat
