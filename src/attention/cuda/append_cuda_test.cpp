// SPDX-License-Identifier: Apache-2.0
// append_kv() on a device against its CPU twin, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention/cuda/device_batch_for_test.h"
#include "device/cuda_device.h"

namespace onebeat {
namespace {

double value_of_bits(KvType type, std::uint16_t bits) {
  return type == KvType::kBF16 ? oracle::from_bf16(bits) : oracle::from_f16(bits);
}

struct AppendOptions {
  KvType input = KvType::kBF16;
  KvType cache = KvType::kBF16;
  KvLayout layout = KvLayout::kNhd;
  std::int32_t kv_heads = 2;
  std::int32_t dim = 64;
  std::int32_t dim_v = 64;
  std::int32_t page = 16;
  std::int32_t pages = 40;
  std::int32_t tokens = 100;
  bool padded = false;  ///< Gaps between heads and tokens of the input.
  bool scales = true;
};

/// Some tokens, their slots and a pool, on the host; all unused memory is 0xff.
struct HostAppend {
  explicit HostAppend(const AppendOptions& o, unsigned seed = 1) : options(o), random(seed) {
    g.num_heads = g.num_kv_heads = o.kv_heads;
    g.head_dim = o.dim;
    g.head_dim_v = o.dim_v;
    g.page_tokens = o.page;
    g.kv_type = o.cache;
    const auto elements =
        static_cast<std::size_t>(o.pages * o.page * o.kv_heads * size_of(o.cache));
    k_pool.assign(elements * static_cast<std::size_t>(o.dim), std::byte{0xff});
    v_pool.assign(elements * static_cast<std::size_t>(o.dim_v), std::byte{0xff});
    k = make_rows(o.dim);
    v = make_rows(o.dim_v);
    slots.resize(static_cast<std::size_t>(o.pages * o.page));
    std::iota(slots.begin(), slots.end(), 0);
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(static_cast<std::size_t>(o.tokens));
    if (o.cache == KvType::kF8E4M3 && o.scales) {
      for (std::int32_t head = 0; head < o.kv_heads; ++head) {
        k_scales.push_back(0.37f + static_cast<float>(head));
        v_scales.push_back(0.0021f * static_cast<float>(1 + head));
      }
    }
  }

  [[nodiscard]] std::int64_t gap() const { return options.padded ? 8 : 0; }
  template <typename T>
  [[nodiscard]] HeadRows<T> rows(T* data, std::int32_t dim) const {
    const std::int64_t head = dim + gap();
    return {data, options.tokens, options.kv_heads, dim, options.kv_heads * head + gap(), head};
  }
  std::vector<std::uint16_t> make_rows(std::int32_t dim) {
    std::vector<std::uint16_t> bits(
        static_cast<std::size_t>(options.tokens * rows<std::uint16_t>(nullptr, dim).token_stride));
    for (std::uint16_t& x : bits) {
      do {
        x = static_cast<std::uint16_t>(random());
      } while (std::isnan(value_of_bits(options.input, x)));
    }
    return bits;
  }

  /// What the CPU stores.
  void store() {
    const auto floats = [&](const std::vector<std::uint16_t>& bits) {
      std::vector<float> values;
      for (const std::uint16_t x : bits)
        values.push_back(static_cast<float>(value_of_bits(options.input, x)));
      return values;
    };
    const std::vector<float> k_values = floats(k);
    const std::vector<float> v_values = floats(v);
    AppendLaunch launch;
    launch.k = rows(k_values.data(), options.dim);
    launch.v = rows(v_values.data(), options.dim_v);
    launch.slots = slots;
    launch.kv = pool(k_pool.data(), v_pool.data(), k_scales.data(), v_scales.data());
    AttentionReport report;
    launch.report = &report;
    const auto threads = make_pool_for_test(2);
    const Status status = append_kv(launch, *threads);
    ASSERT_TRUE(status.ok() || status.code() == StatusCode::kOutOfRange) << to_string(status);
    faults = report.faults;
  }
  [[nodiscard]] KvPool pool(void* k_data, void* v_data, const float* k_of_heads,
                            const float* v_of_heads) const {
    KvPool kv = make_kv_pool(g, options.layout, options.pages, k_data, v_data);
    if (!k_scales.empty()) kv.k_scales = k_of_heads, kv.v_scales = v_of_heads;
    return kv;
  }

  AppendOptions options;
  std::mt19937 random;
  AttentionGeometry g;
  std::vector<std::byte> k_pool, v_pool;
  std::vector<std::uint16_t> k, v;
  std::vector<std::int32_t> slots;
  std::vector<float> k_scales, v_scales;
  std::uint32_t faults = 0;
};

/// The same on the device, the pool still unwritten.
struct DeviceAppend {
  DeviceAppend(const HostAppend& host, cudaStream_t stream) {
    k_pool = copy<std::byte>(host.k_pool, stream);
    v_pool = copy<std::byte>(host.v_pool, stream);
    k = copy<std::uint16_t>(host.k, stream);
    v = copy<std::uint16_t>(host.v, stream);
    slots = copy<std::int32_t>(host.slots, stream);
    k_scales = copy<float>(host.k_scales, stream);
    v_scales = copy<float>(host.v_scales, stream);
    faults = value_of(PinnedBuffer<std::uint32_t>::allocate(1));
    faults.data()[0] = 0;
    launch.k = host.rows<const std::uint16_t>(k.data(), host.options.dim);
    launch.v = host.rows<const std::uint16_t>(v.data(), host.options.dim_v);
    launch.input_type = host.options.input;
    launch.slots = {slots.data(), slots.size()};
    launch.kv = host.pool(k_pool.data(), v_pool.data(), k_scales.data(), v_scales.data());
    launch.faults = faults.data();
  }
  template <typename T>
  static DeviceBuffer<T> copy(std::span<const T> values, cudaStream_t stream) {
    return value_of(DeviceBuffer<T>::copy_of(values, stream));
  }

  CudaAppendLaunch launch;
  DeviceBuffer<std::byte> k_pool, v_pool;
  DeviceBuffer<std::uint16_t> k, v;
  DeviceBuffer<std::int32_t> slots;
  DeviceBuffer<float> k_scales, v_scales;
  PinnedBuffer<std::uint32_t> faults;
};

class CudaAppendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Result<CudaDeviceFacts> facts = use_cuda_device(0);
    if (!facts.ok()) GTEST_SKIP() << "no GPU: " << facts.status().message();
    if (facts->compute_major != 9) GTEST_SKIP() << facts->name << " is no Hopper GPU";
    stream_ = value_of(CudaStream::create());
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_.get(); }

  /// Device and CPU leave the same bytes, and the same faults.
  void check(HostAppend host) {
    DeviceAppend device(host, stream());
    host.store();
    for (const CudaOverlap overlap : {CudaOverlap::kNone, CudaOverlap::kLaunch}) {
      device.launch.overlap = overlap;
      const Status status = append_kv(device.launch, stream());
      ASSERT_TRUE(status.ok()) << to_string(status);
    }
    const std::string what = std::string(name_of(host.options.input)) + " to " +
                             std::string(name_of(host.options.cache)) + ", D " +
                             std::to_string(host.options.dim) + ", P " +
                             std::to_string(host.options.page);
    expect_same(value_of(device.k_pool.download(stream())), host.k_pool, what + ", K");
    expect_same(value_of(device.v_pool.download(stream())), host.v_pool, what + ", V");
    EXPECT_EQ(device.faults.data()[0], host.faults) << what;
  }

 private:
  static void expect_same(const std::vector<std::byte>& got, const std::vector<std::byte>& expected,
                          const std::string& what) {
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(static_cast<int>(got[i]), static_cast<int>(expected[i])) << what << ", byte " << i;
    }
  }

  CudaStream stream_;
};

constexpr KvType kInputs[] = {KvType::kBF16, KvType::kF16};
constexpr KvType kCaches[] = {KvType::kBF16, KvType::kF16, KvType::kF8E4M3};

TEST_F(CudaAppendTest, SanitizerTypesLayoutsPagesAndStrides) {
  for (const KvType input : kInputs) {
    for (const KvType cache : kCaches) {
      for (const KvLayout layout : {KvLayout::kNhd, KvLayout::kRuns}) {
        for (const std::int32_t page : {1, 16, 64}) {
          AppendOptions o;
          o.input = input;
          o.cache = cache;
          o.layout = layout;
          o.page = page;
          o.pages = page == 1 ? 300 : 20;
          o.padded = page == 16;
          o.scales = page != 64;
          o.dim = page == 64 ? 192 : 128;
          o.dim_v = page == 1 ? 64 : o.dim;
          HostAppend host(o);
          host.slots[3] = host.slots[50] = -1;
          check(std::move(host));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Every value that an input can have, NaN too, in fp8 and in the other type of 16 bits.
TEST_F(CudaAppendTest, EveryInputBecomesTheBitsOfTheCpu) {
  for (const KvType input : kInputs) {
    for (const KvType cache : kCaches) {
      AppendOptions o;
      o.input = input;
      o.cache = cache;
      o.kv_heads = 4;
      o.dim = o.dim_v = 256;
      o.pages = 8;
      o.tokens = 64;
      HostAppend host(o);
      for (std::size_t i = 0; i < host.k.size(); ++i) {
        const auto bits = static_cast<std::uint16_t>(i);
        const bool skip = cache != KvType::kF8E4M3 && std::isnan(value_of_bits(input, bits));
        host.k[i] = skip ? 0 : bits;
        host.v[i] = host.k[i];
      }
      ASSERT_EQ(host.k.size(), 65536u);
      for (std::size_t head = 0; head < host.k_scales.size(); ++head)
        host.k_scales[head] = 1.0f;  // V's are no powers of two
      check(std::move(host));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaAppendTest, ManyTokensAndHeads) {
  for (const KvType cache : kCaches) {
    AppendOptions o;
    o.cache = cache;
    o.kv_heads = 8;
    o.dim = o.dim_v = 128;
    o.page = 64;
    o.pages = 70;
    o.tokens = 4096;
    check(HostAppend(o));
    o.kv_heads = 1;
    o.dim = o.dim_v = 64;
    o.tokens = 1;
    check(HostAppend(o));
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaAppendTest, SanitizerSlotsOutsideThePoolAreReportedAndNotStored) {
  AppendOptions o;
  o.cache = KvType::kF8E4M3;
  HostAppend host(o);
  const std::int32_t end = o.pages * o.page;
  host.slots[0] = end;
  host.slots[1] = -2;
  host.slots[2] = 0x7fffffff;
  host.slots[3] = -0x7fffffff - 1;
  check(std::move(host));
  HostAppend all_right(o);
  check(std::move(all_right));
}

// What a captured append stores, and where, changes between its replays.
TEST_F(CudaAppendTest, GraphServesEveryLaterStep) {
  AppendOptions o;
  o.cache = KvType::kF8E4M3;
  HostAppend host(o);
  DeviceAppend device(host, stream());
  const auto graph = value_of(
      CudaGraph::capture(stream(), [&](cudaStream_t s) { return append_kv(device.launch, s); }));
  EXPECT_EQ(graph.kernel_nodes(), 1);
  for (unsigned step = 2; step < 6; ++step) {
    HostAppend next(o, step);
    next.k_pool = host.k_pool;
    next.v_pool = host.v_pool;
    ASSERT_TRUE(device.k.upload(next.k, stream()).ok());
    ASSERT_TRUE(device.v.upload(next.v, stream()).ok());
    ASSERT_TRUE(device.slots.upload(next.slots, stream()).ok());
    ASSERT_TRUE(graph.launch(stream()).ok());
    next.store();
    ASSERT_EQ(value_of(device.k_pool.download(stream())), next.k_pool);
    ASSERT_EQ(value_of(device.v_pool.download(stream())), next.v_pool);
    host.k_pool = next.k_pool;
    host.v_pool = next.v_pool;
  }
}

TEST_F(CudaAppendTest, RefusesWhatDoesNotFit) {
  AppendOptions o;
  o.cache = KvType::kF8E4M3;
  const HostAppend host(o);
  DeviceAppend device(host, stream());
  const auto refusal = [&](const CudaAppendLaunch& launch, StatusCode code) {
    const Status status = append_kv(launch, stream());
    EXPECT_EQ(status.code(), code) << to_string(status);
    return std::string(status.message());
  };
  CudaAppendLaunch launch = device.launch;
  launch.kv.type = KvType::kF32;
  EXPECT_NE(refusal(launch, StatusCode::kUnsupported).find("fp32"), std::string::npos);
  launch = device.launch;
  launch.input_type = KvType::kF8E4M3;
  EXPECT_NE(refusal(launch, StatusCode::kUnsupported).find("append of fp8 e4m3"),
            std::string::npos);
  launch = device.launch;
  launch.k.num_heads = 1;
  (void)refusal(launch, StatusCode::kPlanMismatch);
  launch = device.launch;
  launch.v.data += 1;
  EXPECT_NE(refusal(launch, StatusCode::kInvalidArgument).find("rows of V"), std::string::npos);
  launch = device.launch;
  launch.kv.v_page_stride += 8;
  EXPECT_NE(refusal(launch, StatusCode::kInvalidArgument).find("multiple of 16"),
            std::string::npos);
  launch = device.launch;
  launch.kv.type = KvType::kBF16;  // its scales are fp8's
  EXPECT_NE(refusal(launch, StatusCode::kInvalidArgument).find("only fp8 e4m3 takes them"),
            std::string::npos);
  launch = device.launch;
  launch.faults = nullptr;
  (void)refusal(launch, StatusCode::kInvalidArgument);
  launch = device.launch;
  launch.slots = {
      reinterpret_cast<const std::int32_t*>(reinterpret_cast<const char*>(launch.slots.data()) + 2),
      1};
  EXPECT_NE(refusal(launch, StatusCode::kInvalidArgument).find("slots"), std::string::npos);
  launch = device.launch;
  launch.slots = {};
  EXPECT_TRUE(append_kv(launch, stream()).ok());
  EXPECT_EQ(value_of(device.k_pool.download(stream())), host.k_pool);
}

}  // namespace
}  // namespace onebeat
