// SPDX-License-Identifier: Apache-2.0
#include "bench/decode_workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <sstream>

#include "base/error.h"
#include "bench/peer_figures.h"

namespace onebeat::cli {
namespace {

/// "bs32" of 512: 32 x 512; "skew...": one long and 31 short; "geo...": 64 lengths from 128 to
/// 32,768, spaced so that they sum up to what the stored figures were measured on.
std::vector<std::int32_t> lengths_of(const std::string& batch, std::int32_t longest) {
  if (batch.rfind("bs", 0) == 0)
    return std::vector<std::int32_t>(static_cast<std::size_t>(std::stoi(batch.substr(2))), longest);
  std::vector<std::int32_t> lens;
  if (batch.rfind("skew", 0) == 0) {
    lens.assign(32, 512);
    lens[0] = longest;
  } else {
    for (int i = 0; i < 64; ++i) {
      const double place = std::pow(i / 63.0, 0.875929128035159);
      lens.push_back(static_cast<std::int32_t>(std::lround(128 * std::pow(256.0, place))));
    }
  }
  return lens;
}

/// From half of `longest` on.
std::vector<std::int32_t> uneven_lengths(std::int32_t requests, std::int32_t longest,
                                         std::mt19937& random) {
  std::vector<std::int32_t> lens;
  for (std::int32_t i = 0; i < requests; ++i)
    lens.push_back(longest / 2 +
                   static_cast<std::int32_t>(random() % static_cast<unsigned>(longest / 2)));
  return lens;
}

}  // namespace

std::vector<DecodeShape> stored_decode_shapes() {
  std::vector<DecodeShape> shapes;
  std::istringstream file{std::string(stored_decode_attention_figures())};
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::stringstream stream(line);
    std::vector<std::string> f;
    for (std::string field; std::getline(stream, field, ',');) f.push_back(field);
    if (f.size() < 11) continue;
    shapes.push_back({f[0], f[4] + " x " + f[5], f[10], std::stoi(f[1]), std::stoi(f[2]),
                      std::stoi(f[3]), std::stoi(f[6]), lengths_of(f[4], std::stoi(f[5])),
                      std::stod(f[9])});
  }
  return shapes;
}

std::vector<DecodeShape> irregular_decode_shapes() {
  struct Heads {
    const char* name;
    std::int32_t heads, kv_heads, head_dim;
  };
  std::vector<DecodeShape> shapes;
  std::mt19937 random(3);
  for (const Heads& h : {Heads{"28/4/128", 28, 4, 128},
                         {"40/8/128", 40, 8, 128},
                         {"12/2/64", 12, 2, 64},
                         {"24/6/64", 24, 6, 64}}) {
    for (const std::int32_t page : {16, 128}) {
      for (const std::int32_t requests : {3, 23, 96}) {
        for (const std::int32_t longest : {700, 9000}) {
          DecodeShape shape{h.name,     fmt::format("{} up to {}", requests, longest),
                            "",         h.heads,
                            h.kv_heads, h.head_dim,
                            page,       uneven_lengths(requests, longest, random),
                            0};
          shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

std::vector<DecodeShape> verify_decode_shapes() {
  struct Heads {
    const char* name;
    std::int32_t heads, kv_heads, head_dim, query_tokens;
  };
  std::vector<DecodeShape> shapes;
  for (const Heads& h : {Heads{"32/8/128 T 4", 32, 8, 128, 4}, Heads{"32/8/128 T 8", 32, 8, 128, 8},
                         Heads{"16/2/128 T 4", 16, 2, 128, 4}, Heads{"16/2/128 T 8", 16, 2, 128, 8},
                         Heads{"64/8/64 T 4", 64, 8, 64, 4}, Heads{"64/8/64 T 8", 64, 8, 64, 8},
                         Heads{"128/1/128", 128, 1, 128, 1}, Heads{"32/1/128", 32, 1, 128, 1}}) {
    for (const std::int32_t page : {1, 64}) {
      for (const std::int32_t requests : {1, 8, 32, 128}) {
        for (const std::int32_t len : {512, 4096, 32768}) {
          DecodeShape shape{h.name,     fmt::format("{} x {}", requests, len),
                            "",         h.heads,
                            h.kv_heads, h.head_dim,
                            page,       {},
                            0,          h.query_tokens};
          shape.lens.assign(static_cast<std::size_t>(requests), len);
          if (shape.bytes() < 4e9) shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

std::vector<DecodeShape> query_row_shapes() {
  struct Batch {
    std::int32_t requests, longest, page;
    bool uneven;
  };
  std::vector<DecodeShape> shapes;
  std::mt19937 random(5);
  for (const std::int32_t head_dim : {64, 128}) {
    for (const std::int32_t heads_per_kv_head : {1, 4, 8}) {
      for (const std::int32_t query_tokens : {1, 2, 4, 8}) {
        for (const Batch& b :
             {Batch{1, 4097, 64, false}, Batch{32, 2048, 1, false}, Batch{3, 700, 16, true},
              Batch{23, 9000, 128, true}, Batch{96, 700, 16, true}, Batch{96, 5000, 128, true}}) {
          const std::int32_t kv_heads = b.uneven ? 6 : 8;
          const std::int32_t heads = kv_heads * heads_per_kv_head;
          DecodeShape shape{
              fmt::format("{}/{}/{} T {}", heads, kv_heads, head_dim, query_tokens),
              fmt::format("{} {} {}", b.requests, b.uneven ? "up to" : "x", b.longest),
              "",
              heads,
              kv_heads,
              head_dim,
              b.page,
              {},
              0,
              query_tokens};
          shape.lens =
              b.uneven ? uneven_lengths(b.requests, b.longest, random)
                       : std::vector<std::int32_t>(static_cast<std::size_t>(b.requests), b.longest);
          shapes.push_back(std::move(shape));
        }
      }
    }
  }
  return shapes;
}

std::vector<DecodeShape> head_size_shapes() {
  struct Batch {
    std::int32_t requests, len;
  };
  std::vector<DecodeShape> shapes;
  for (const HeadCounts heads : {HeadCounts{4, 1}, HeadCounts{16, 8}, HeadCounts{32, 8}}) {
    for (const std::int32_t page : {1, 64}) {
      for (const Batch b : {Batch{1, 8192}, Batch{8, 2048}, Batch{32, 8192}}) {
        for (const std::int32_t head_dim : {64, 96, 128, 192, 256}) {
          const std::int32_t len = (b.len * 128 + head_dim / 2) / head_dim;
          DecodeShape shape{fmt::format("{}/{}/{}", heads.num_heads, heads.num_kv_heads, head_dim),
                            fmt::format("{} x {}", b.requests, len),
                            "",
                            heads.num_heads,
                            heads.num_kv_heads,
                            head_dim,
                            page,
                            {},
                            0};
          shape.lens.assign(static_cast<std::size_t>(b.requests), len);
          shapes.push_back(std::move(shape));
        }
      }
    }
  }
  return shapes;
}

std::int64_t DecodeShape::tokens() const {
  return std::accumulate(lens.begin(), lens.end(), std::int64_t{0});
}

std::int64_t DecodeShape::pages() const {
  std::int64_t count = 0;
  for (const std::int32_t len : lens) count += (len + page - 1) / page;
  return count;
}

std::int32_t DecodeShape::longest() const {
  return *std::max_element(lens.begin(), lens.end());
}

double DecodeShape::bytes(KvType type) const {
  return static_cast<double>(tokens()) * kv_heads * head_dim * 2 * size_of(type);
}

Status DecodeMemory::allocate(KvType type, std::size_t free_bytes, cudaStream_t stream) {
  constexpr std::size_t kPattern = std::size_t{64} << 20;
  const std::size_t bytes = std::min<std::size_t>(std::size_t{20} << 30, free_bytes / 4 * 3);
  ONEBEAT_ASSIGN_OR_RETURN(cache_, DeviceBuffer<std::byte>::allocate(bytes / kPattern * kPattern));
  std::vector<std::uint16_t> pattern(kPattern / 2);
  std::uint32_t state = 1;
  for (std::uint16_t& x : pattern) {  // bf16 of sizes 0.5 to 2 and both signs
    state = state * 1664525u + 1013904223u;
    x = static_cast<std::uint16_t>(0x3f00u + (state >> 31 << 15) + (state >> 8 & 0xffu));
  }
  for (auto& rows : rows_) {
    ONEBEAT_ASSIGN_OR_RETURN(rows, DeviceBuffer<std::uint16_t>::allocate(kMostRowElements));
    ONEBEAT_RETURN_IF_ERROR(
        rows.upload(std::span<const std::uint16_t>(pattern).first(kMostRowElements), stream));
  }
  ONEBEAT_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  element_bytes_ = size_of(type);
  if (type == KvType::kF8E4M3) {
    for (std::uint16_t& x : pattern) {  // two codes of sizes 0.25 to 4 and both signs
      state = state * 1664525u + 1013904223u;
      x = static_cast<std::uint16_t>(0x2828u + (state >> 8 & 0x9f9fu));
    }
  }
  for (std::size_t at = 0; at < cache_.size(); at += kPattern) {
    ONEBEAT_RETURN_IF_CUDA_ERROR(
        cudaMemcpyAsync(cache_.data() + at, pattern.data(), kPattern, cudaMemcpyDefault, stream));
  }
  return cuda_status(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

Status DecodeMemory::lay_out(const DecodeShape& shape, cudaStream_t stream) {
  if (shape.lens.size() * static_cast<std::size_t>(shape.query_tokens) *
          static_cast<std::size_t>(shape.heads * shape.head_dim) >
      kMostRowElements) {
    return resource_exhausted(
        "{} requests of {} query tokens, {} heads of {}: more than {} elements", shape.lens.size(),
        shape.query_tokens, shape.heads, shape.head_dim, kMostRowElements);
  }
  num_pages_ = shape.pages();
  if (num_pages_ == 0) {
    return invalid_argument("no request has a KV token: there is nothing to attend to");
  }
  half_bytes_ = static_cast<std::size_t>(num_pages_) *
                static_cast<std::size_t>(shape.page * shape.kv_heads * shape.head_dim) *
                static_cast<std::size_t>(element_bytes_);
  fitting_ = cache_.size() / (2 * half_bytes_);
  if (fitting_ == 0) {
    return resource_exhausted("{} MB of K and V are more than the {} MB set aside",
                              2 * half_bytes_ >> 20, cache_.size() >> 20);
  }
  const auto columns = static_cast<std::size_t>((shape.longest() + shape.page - 1) / shape.page);
  const std::size_t rows = shape.lens.size();
  std::vector<std::int32_t> ids(static_cast<std::size_t>(num_pages_));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
  std::vector<std::int32_t> table(rows * columns + rows, 0);
  std::size_t next = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto live = static_cast<std::size_t>((shape.lens[r] + shape.page - 1) / shape.page);
    for (std::size_t c = 0; c < live; ++c) table[r * columns + c] = ids[next++];
    table[rows * columns + r] = static_cast<std::int32_t>(r);
  }
  ONEBEAT_ASSIGN_OR_RETURN(table_, DeviceBuffer<std::int32_t>::copy_of(table, stream));
  pages_ = {table_.data(), static_cast<std::int64_t>(columns), static_cast<std::int32_t>(rows),
            static_cast<std::int32_t>(columns), table_.data() + rows * columns};
  return {};
}

KvPool DecodeMemory::kv(const AttentionGeometry& geometry, KvLayout layout,
                        std::size_t layer) const {
  std::byte* k = cache_.data() + layer % fitting_ * 2 * half_bytes_;
  return make_kv_pool(geometry, layout, num_pages_, k, k + half_bytes_);
}

}  // namespace onebeat::cli
