// SPDX-License-Identifier: Apache-2.0
// Lengths, sums and page tables as the engines that this call replaces compute them: the shapes
// that they test, and those that they leave out.
#include <gtest/gtest.h>

#include "step/decode_batch_for_test.h"

namespace onebeat {
namespace {

using step_test::BatchShape;
using step_test::DecodeBatch;
using step_test::RowOrder;

struct NamedShape {
  const char* name;
  BatchShape shape;
};

void PrintTo(const NamedShape& named, std::ostream* out) {
  *out << named.name;
}

class DenseTables : public testing::TestWithParam<NamedShape> {};

TEST_P(DenseTables, EveryElementOfEveryBufferIsAsDefined) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    DecodeBatch(GetParam().shape, seed).prepare_and_check();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DenseTables,
    testing::Values(
        NamedShape{"page_1_small", {.requests = 2, .max_len = 128}},
        NamedShape{"page_1_medium", {.requests = 16, .max_len = 256}},
        NamedShape{"page_1_large", {.requests = 64, .max_len = 512}},
        NamedShape{"page_1_delta", {.requests = 8, .max_len = 200, .len_delta = 5}},
        NamedShape{"page_16_small", {.requests = 4, .max_len = 256, .page_tokens = 16}},
        NamedShape{"page_16_medium", {.requests = 16, .max_len = 512, .page_tokens = 16}},
        NamedShape{"page_64_small", {.requests = 4, .max_len = 512, .page_tokens = 64}},
        NamedShape{"page_64_medium", {.requests = 32, .max_len = 1024, .page_tokens = 64}},
        NamedShape{"page_64_delta",
                   {.requests = 8, .max_len = 512, .page_tokens = 64, .len_delta = 3}},
        NamedShape{"page_16_window",
                   {.requests = 8, .max_len = 256, .page_tokens = 16, .window = true}},
        NamedShape{"page_64_window",
                   {.requests = 16, .max_len = 512, .page_tokens = 64, .window = true}},
        NamedShape{
            "page_64_window_delta",
            {.requests = 8, .max_len = 400, .page_tokens = 64, .window = true, .len_delta = 2}},
        NamedShape{"page_1_window", {.requests = 8, .max_len = 300, .window = true}},
        NamedShape{"one_request_page_1", {.requests = 1, .max_len = 128}},
        NamedShape{"one_request_page_64", {.requests = 1, .max_len = 256, .page_tokens = 64}},
        NamedShape{"tiny", {.requests = 2, .max_len = 10}},
        NamedShape{"varied_lengths",
                   {.requests = 8,
                    .max_len = 512,
                    .page_tokens = 64,
                    .lens = {10, 50, 100, 200, 300, 450, 500, 512}}},
        NamedShape{"tombstone_lengths",
                   {.requests = 2, .max_len = 1152, .page_tokens = 128, .lens = {1152, 256}}}),
    [](const auto& named) { return std::string(named.param.name); });

TEST(DenseTables, EveryPowerOfTwoPage) {
  for (std::int32_t page = 1; page <= 256; page *= 2) {
    SCOPED_TRACE(testing::Message() << "page " << page);
    for (const bool window : {false, true}) {
      DecodeBatch({.requests = 4, .max_len = 512, .page_tokens = page, .window = window})
          .prepare_and_check();
    }
  }
}

TEST(DenseTables, NoColumnsMeansSumsAlone) {
  for (const bool window : {false, true}) {
    DecodeBatch batch({.requests = 5, .max_len = 10, .window = window, .dense_pages = 0});
    batch.prepare_and_check();
    EXPECT_EQ(std::count(batch.table.begin(), batch.table.end(), step_test::kSentinel),
              static_cast<std::ptrdiff_t>(batch.table.size()));
  }
}

// The fused variant with 64-bit maps, permuted rows and a pool of more rows than requests.
TEST(DenseTables, SweepOfPagesBatchesAndDeltas) {
  for (const std::int32_t page : {1, 16, 64, 128}) {
    for (const std::int32_t requests : {1, 37, 128, 512}) {
      for (const std::int32_t delta : {0, 1, 5}) {
        SCOPED_TRACE(testing::Message() << page << " " << requests << " " << delta);
        DecodeBatch({.requests = requests,
                     .max_len = 1023,
                     .page_tokens = page,
                     .len_delta = delta,
                     .min_len = 1,
                     .map_rows = 600,
                     .map_columns = 2048,
                     .order = RowOrder::kPermuted,
                     .len_type = IndexType::kI32,
                     .map_type = IndexType::kI64})
            .prepare_and_check();
      }
    }
  }
}

TEST(DenseTables, OddBatches) {
  for (const std::int32_t requests : {1, 3, 7, 37, 63, 64, 65, 127, 256, 513, 1025}) {
    SCOPED_TRACE(requests);
    DecodeBatch({.requests = requests,
                 .max_len = 400,
                 .page_tokens = 16,
                 .min_len = 1,
                 .order = RowOrder::kPermuted})
        .prepare_and_check();
  }
  DecodeBatch({.requests = 1024,
               .max_len = 300,
               .page_tokens = 16,
               .len_delta = 1,
               .min_len = 1,
               .map_rows = 2048,
               .order = RowOrder::kPermuted})
      .prepare_and_check();
}

TEST(DenseTables, LargePagesAndDeltasOfAWholePage) {
  DecodeBatch({.requests = 32,
               .max_len = 127,
               .page_tokens = 64,
               .len_delta = 1,
               .min_len = 1,
               .map_columns = 128})
      .prepare_and_check();
  DecodeBatch({.requests = 64,
               .max_len = 16320,
               .page_tokens = 256,
               .len_delta = 64,
               .min_len = 1,
               .map_columns = 16384})
      .prepare_and_check();
  DecodeBatch({.requests = 16,
               .max_len = 8191,
               .page_tokens = 64,
               .len_delta = 1,
               .min_len = 1,
               .map_columns = 8192})
      .prepare_and_check();
}

TEST(DenseTables, WidthsBesideEveryTileEdgeInUnalignedRows) {
  for (const std::int64_t pages : {5, 6, 7, 259, 511, 1025, 1026, 1027, 2049}) {
    for (const std::int64_t columns : {pages, pages + 3, pages + 6}) {
      SCOPED_TRACE(testing::Message() << pages << " of " << columns);
      DecodeBatch({.requests = 3,
                   .max_len = static_cast<std::int32_t>(pages),
                   .min_len = 0,
                   .dense_pages = pages,
                   .map_columns = columns})
          .prepare_and_check();
    }
  }
  for (const std::int64_t columns : {1022, 1023}) {
    DecodeBatch({.requests = 65,
                 .max_len = 1000,
                 .window = true,
                 .map_columns = columns,
                 .map_type = IndexType::kI64})
        .prepare_and_check();
  }
}

TEST(DenseTables, FullCapacity) {
  DecodeBatch({.requests = 16,
               .max_len = 1024,
               .page_tokens = 16,
               .len_delta = 1,
               .lens = std::vector<std::int64_t>(16, 1023),
               .map_columns = 1024})
      .prepare_and_check();
}

TEST(DenseTables, EmptyBatchWritesTheFirstSumOnly) {
  DecodeBatch({.requests = 0, .max_len = 64}).prepare_and_check();
}

class Layouts : public testing::TestWithParam<std::tuple<TableContract, std::int64_t, RowOrder>> {};

TEST_P(Layouts, StridesTypesAndRepeatedRows) {
  const auto [contract, gaps, order] = GetParam();
  for (const IndexType narrow_or_wide : {IndexType::kI32, IndexType::kI64}) {
    for (const std::int32_t page : {1, 8}) {
      SCOPED_TRACE(testing::Message() << "page " << page);
      DecodeBatch({.requests = 70,
                   .max_len = 90,
                   .page_tokens = page,
                   .window = true,
                   .len_delta = 1,
                   .min_len = 0,
                   .contract = contract,
                   .map_rows = 80,
                   .order = order,
                   .len_type = narrow_or_wide,
                   .row_type = narrow_or_wide,
                   .map_type = narrow_or_wide,
                   .window_type = narrow_or_wide,
                   .gaps = gaps})
          .prepare_and_check();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Layouts,
    testing::Combine(testing::Values(TableContract::kLive, TableContract::kDense),
                     testing::Values(std::int64_t{0}, std::int64_t{1}, std::int64_t{2}),
                     testing::Values(RowOrder::kInOrder, RowOrder::kPermuted,
                                     RowOrder::kRepeated)));

TEST(LiveTables, WriteTheLivePagesOfEachRowAndNothingElse) {
  for (const std::int32_t page : {1, 4, 16, 64, 128}) {
    SCOPED_TRACE(page);
    DecodeBatch batch({.requests = 200,
                       .max_len = 700,
                       .page_tokens = page,
                       .window = true,
                       .min_len = 0,
                       .contract = TableContract::kLive,
                       .order = RowOrder::kPermuted});
    batch.prepare_and_check();
  }
}

TEST(LiveTables, LengthsAtPageEdges) {
  DecodeBatch({.requests = 7,
               .max_len = 64,
               .page_tokens = 16,
               .lens = {0, 1, 15, 16, 17, 32, 33},
               .contract = TableContract::kLive})
      .prepare_and_check();
}

TEST(ActiveRows, RowsFromNumActiveOnAreNotTouched) {
  for (const TableContract contract : {TableContract::kLive, TableContract::kDense}) {
    for (const std::int32_t active : {0, 1, 17, 63, 64}) {
      DecodeBatch({.requests = 64,
                   .max_len = 100,
                   .page_tokens = 4,
                   .window = true,
                   .contract = contract,
                   .active = active})
          .prepare_and_check();
    }
  }
}

}  // namespace
}  // namespace onebeat
