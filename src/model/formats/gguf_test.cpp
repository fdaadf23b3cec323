// SPDX-License-Identifier: Apache-2.0
#include "model/formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "model/formats/gguf_test_writer.h"

namespace onebeat {
namespace {

using ::testing::AllOf;
using testing::ByteWriter;
using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

Status parse_status(const std::vector<std::byte>& bytes) {
  return GgufFile::parse(bytes, "test.gguf").status();
}

void expect_refused(const std::vector<std::byte>& bytes, StatusCode code, const std::string& says) {
  const Status status = parse_status(bytes);
  EXPECT_EQ(status.code(), code) << to_string(status);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("test.gguf: "), HasSubstr(says)));
}

GgufWriter good_file() {
  GgufWriter writer;
  writer.add("general.architecture", "llama")
      .add("a.u8", std::uint8_t{200})
      .add("a.i8", std::int8_t{-3})
      .add("a.u32", std::uint32_t{4'000'000'000})
      .add("a.i64", std::int64_t{-5'000'000'000})
      .add("a.u64", kHuge)
      .add("a.f32", 0.5F)
      .add("a.f64", 0.25)
      .add("a.yes", true)
      .add("a.names", std::vector<std::string>{"one", "", "three \xc3\xa9"})
      .add("a.numbers", std::vector<std::int32_t>{1, -2, 3})
      .add("a.scores", std::vector<float>{1.5F, -2.0F})
      .add_f32("w", {2, 3}, {1, 2, 3, 4, 5, 6})
      .add_tensor({"q", GgmlType::kQ4_1, {64, 2}, std::vector<std::byte>(4 * 20, std::byte{7})});
  return writer;
}

TEST(Gguf, ReadsTypedMetadata) {
  const auto bytes = good_file().finish();
  const auto file = GgufFile::parse(bytes, "test.gguf");
  ASSERT_TRUE(file.ok()) << to_string(file.status());
  EXPECT_EQ(file->version(), 3U);
  EXPECT_EQ(file->alignment(), 32U);
  EXPECT_EQ(file->metadata().size(), 12U);
  EXPECT_EQ(file->required<std::string_view>("general.architecture").value(), "llama");
  EXPECT_EQ(file->required<std::uint32_t>("a.u8").value(), 200U);
  EXPECT_EQ(file->required<std::int64_t>("a.i8").value(), -3);
  EXPECT_EQ(file->required<std::uint64_t>("a.u32").value(), 4'000'000'000U);
  EXPECT_EQ(file->required<std::int64_t>("a.i64").value(), -5'000'000'000);
  EXPECT_EQ(file->required<std::uint64_t>("a.u64").value(), kHuge);
  EXPECT_EQ(file->required<double>("a.f32").value(), 0.5);
  EXPECT_EQ(file->required<float>("a.f64").value(), 0.25F);
  EXPECT_TRUE(file->required<bool>("a.yes").value());
  EXPECT_THAT(file->required<std::vector<std::string_view>>("a.names").value(),
              ElementsAre("one", "", "three \xc3\xa9"));
  EXPECT_THAT(file->required<std::vector<std::int64_t>>("a.numbers").value(),
              ElementsAre(1, -2, 3));
  EXPECT_THAT(file->required<std::vector<float>>("a.scores").value(), ElementsAre(1.5F, -2.0F));
}

TEST(Gguf, OptionalFallsBackOnlyWhenTheKeyIsMissing) {
  const auto bytes = good_file().finish();
  const auto file = GgufFile::parse(bytes, "test.gguf");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->optional<std::uint32_t>("a.u8", 7).value(), 200U);
  EXPECT_EQ(file->optional<std::uint32_t>("absent", 7).value(), 7U);
  EXPECT_EQ(file->optional<std::uint32_t>("a.f32", 7).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(Gguf, GettersNameKeyValueAndType) {
  const auto bytes = good_file().finish();
  const auto file = GgufFile::parse(bytes, "test.gguf");
  ASSERT_TRUE(file.ok());
  const auto message = [](const auto& result) { return result.status().message(); };
  EXPECT_EQ(file->required<bool>("absent").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(message(file->required<bool>("absent")), HasSubstr("\"absent\" is missing"));
  EXPECT_THAT(message(file->required<std::int32_t>("a.u32")),
              HasSubstr("4000000000 does not fit in int32"));
  EXPECT_THAT(message(file->required<std::uint64_t>("a.i8")),
              HasSubstr("-3 does not fit in uint64"));
  EXPECT_THAT(message(file->required<bool>("a.u8")),
              HasSubstr("it is of type uint8; bool is needed"));
  EXPECT_THAT(message(file->required<std::string_view>("a.yes")),
              HasSubstr("it is of type bool; string is needed"));
  EXPECT_THAT(message(file->required<float>("a.u8")),
              HasSubstr("it is of type uint8; float is needed"));
  EXPECT_THAT(message(file->required<std::uint32_t>("a.names")),
              HasSubstr("it is of type array; uint32 is needed"));
  EXPECT_THAT(message(file->required<std::vector<std::int32_t>>("a.u8")),
              HasSubstr("it is of type uint8; an array of int32 is needed"));
  EXPECT_THAT(message(file->required<std::vector<std::string_view>>("a.numbers")),
              HasSubstr("it is an array of int32; an array of string is needed"));
  EXPECT_THAT(message(file->required<std::vector<std::uint32_t>>("a.numbers")),
              HasSubstr("element 1: -2 does not fit in uint32"));
}

TEST(Gguf, GivesEachTensorItsOwnBytes) {
  const auto bytes = good_file().finish();
  const auto file = GgufFile::parse(bytes, "test.gguf");
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->tensors().size(), 2U);
  EXPECT_EQ(file->find_tensor("missing"), nullptr);
  const GgufTensor* w = file->find_tensor("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->type, GgmlType::kF32);
  EXPECT_THAT(w->shape, ElementsAre(2, 3));
  EXPECT_EQ(w->elements, 6U);
  ASSERT_EQ(w->bytes.size(), 24U);
  float last = 0;
  std::memcpy(&last, w->bytes.data() + 20, 4);
  EXPECT_EQ(last, 6.0F);
  const GgufTensor* q = file->find_tensor("q");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->bytes.size(), 80U);
  EXPECT_EQ(q->bytes[79], std::byte{7});
  EXPECT_EQ((q->bytes.data() - bytes.data()) % 32, 0);
}

TEST(Gguf, ViewsOutliveAMove) {
  const std::string path = ::testing::TempDir() + "/onebeat_gguf_move.gguf";
  good_file().write(path);
  auto opened = GgufFile::open(path);
  ASSERT_TRUE(opened.ok()) << to_string(opened.status());
  const auto names = opened->required<std::vector<std::string_view>>("a.names").value();
  const auto weights = opened->find_tensor("w")->bytes;
  const GgufFile moved = std::move(opened).value();
  EXPECT_EQ(names[0], "one");
  EXPECT_EQ(moved.find_tensor("w")->bytes.data(), weights.data());
  EXPECT_EQ(weights[3], std::byte{0x3f});
  std::filesystem::remove(path);
}

TEST(Gguf, ReadsVersion2AndOtherAlignments) {
  for (const std::uint32_t alignment : {8U, 16U, 64U, 4096U}) {
    GgufWriter writer;
    writer.version = 2;
    writer.layout_alignment = alignment;
    writer.add("general.alignment", alignment).add_f32("a", {1}, {1}).add_f32("b", {1}, {2});
    const auto bytes = writer.finish();
    const auto file = GgufFile::parse(bytes, "test.gguf");
    ASSERT_TRUE(file.ok()) << to_string(file.status());
    EXPECT_EQ(file->version(), 2U);
    EXPECT_EQ(file->alignment(), alignment);
    EXPECT_EQ(file->find_tensor("b")->bytes[3], std::byte{0x40});
  }
}

TEST(Gguf, ReadsAVocabularyWithoutTensors) {
  const auto bytes = GgufWriter().add("general.architecture", "llama").finish();
  EXPECT_TRUE(parse_status(bytes).ok());
}

TEST(Gguf, RefusesOtherFilesVersionsAndByteOrders) {
  GgufWriter writer = good_file();
  writer.magic = "GGML";
  expect_refused(writer.finish(), StatusCode::kUnsupported, "starts with \"GGML\"");
  writer = good_file();
  for (const std::uint32_t version : {0U, 1U, 4U, 0xffffffffU}) {
    writer.version = version;
    expect_refused(writer.finish(), StatusCode::kUnsupported, "versions 2 and 3 can be read");
  }
  writer.version = 0x03000000;
  expect_refused(writer.finish(), StatusCode::kUnsupported, "big-endian (GGUF version 3)");
}

TEST(Gguf, RefusesEveryTruncation) {
  const auto bytes = good_file().finish();
  // Only the padding behind the last tensor may be missing: 80 bytes padded to 96.
  const std::size_t needed = bytes.size() - 16;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<std::byte> cut(bytes.begin(),
                                     bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const Status status = parse_status(cut);
    EXPECT_EQ(status.ok(), size >= needed) << size << ": " << to_string(status);
  }
}

TEST(Gguf, RefusesCountsThatCannotFit) {
  for (const std::int64_t extra : {std::int64_t{1} << 62, std::int64_t{-100}, std::int64_t{1000}}) {
    GgufWriter writer = good_file();
    writer.extra_entries = extra;
    expect_refused(writer.finish(), StatusCode::kDataLoss, "metadata entries");
    writer = good_file();
    writer.extra_tensors = extra;
    expect_refused(writer.finish(), StatusCode::kDataLoss, "tensors");
  }
}

TEST(Gguf, RefusesLengthsOfStringsAndArraysBeyondTheFile) {
  const auto array = [](GgufType type, std::uint64_t count) {
    return ByteWriter().type(GgufType::kArray).type(type).number(count);
  };
  const auto with = [](const ByteWriter& value) {
    return GgufWriter().add_raw("bad", value).finish();
  };
  for (const std::uint64_t length : {std::uint64_t{1}, kHuge / 8 + 1, kHuge - 7, kHuge}) {
    expect_refused(with(ByteWriter().type(GgufType::kString).number(length)), StatusCode::kDataLoss,
                   "metadata \"bad\"");
    for (const GgufType type :
         {GgufType::kUint8, GgufType::kFloat64, GgufType::kString, GgufType::kArray}) {
      expect_refused(with(array(type, length)), StatusCode::kDataLoss, "metadata \"bad\"");
    }
  }
  // A key whose length is a lie.
  ByteWriter key;
  key.raw("GGUF").number<std::uint32_t>(3).number<std::uint64_t>(0).number<std::uint64_t>(1);
  key.number(kHuge - 3).raw("0123456789abcdef");
  expect_refused(key.bytes(), StatusCode::kDataLoss, "a metadata key at byte 32");
}

TEST(Gguf, LimitsNestingOfArrays) {
  const auto nested = [](int depth) {
    ByteWriter value;
    value.type(GgufType::kArray);
    for (int i = 1; i < depth; ++i) value.type(GgufType::kArray).number<std::uint64_t>(1);
    value.type(GgufType::kUint8).number<std::uint64_t>(1).number<std::uint8_t>(1);
    return GgufWriter().add_raw("deep", value).finish();
  };
  EXPECT_TRUE(parse_status(nested(4)).ok());
  expect_refused(nested(5), StatusCode::kDataLoss, "nested more than 4 deep");
  expect_refused(nested(100'000), StatusCode::kDataLoss, "nested more than 4 deep");
}

TEST(Gguf, RefusesBadValues) {
  expect_refused(GgufWriter()
                     .add_raw("t", ByteWriter().number<std::uint32_t>(13).number<std::uint64_t>(0))
                     .finish(),
                 StatusCode::kDataLoss, "value type 13");
  expect_refused(GgufWriter()
                     .add_raw("t", ByteWriter().number<std::int32_t>(-1).number<std::uint64_t>(0))
                     .finish(),
                 StatusCode::kDataLoss, "value type 4294967295");
  expect_refused(GgufWriter()
                     .add_raw("b", ByteWriter().type(GgufType::kBool).number<std::uint8_t>(2))
                     .finish(),
                 StatusCode::kDataLoss, "a bool holds 2");
  expect_refused(GgufWriter().add("", std::uint32_t{1}).finish(), StatusCode::kDataLoss,
                 "an empty metadata key");
  expect_refused(GgufWriter().add(std::string(65'536, 'k'), std::uint32_t{1}).finish(),
                 StatusCode::kDataLoss, "a metadata key of 65536 bytes");
}

TEST(Gguf, RefusesDuplicates) {
  expect_refused(GgufWriter().add("k", true).add("other", true).add("k", 1.0F).finish(),
                 StatusCode::kDataLoss, "metadata \"k\" appears twice");
  expect_refused(
      GgufWriter().add_f32("w", {1}, {1}).add_f32("v", {1}, {1}).add_f32("w", {1}, {2}).finish(),
      StatusCode::kDataLoss, "tensor \"w\" appears twice");
}

TEST(Gguf, RefusesBadAlignments) {
  for (const std::uint32_t alignment : {0U, 1U, 4U, 12U, 33U, 0xffffffffU}) {
    expect_refused(good_file().add("general.alignment", alignment).finish(), StatusCode::kDataLoss,
                   "power of two from 8 up");
  }
  expect_refused(good_file().add("general.alignment", "32").finish(), StatusCode::kInvalidArgument,
                 "it is of type string; uint32 is needed");
  expect_refused(good_file().add("general.alignment", 0x80000000U).finish(), StatusCode::kDataLoss,
                 "padding");
}

TEST(Gguf, RefusesShapesWhoseProductsOverflow) {
  const auto with = [](GgmlType type, std::vector<std::uint64_t> shape) {
    return GgufWriter()
        .add_tensor({"w", type, std::move(shape), std::vector<std::byte>(256)})
        .finish();
  };
  expect_refused(with(GgmlType::kF32, {kHuge, kHuge}), StatusCode::kDataLoss,
                 "tensor \"w\": the product");
  // These products are 0 and 4 modulo 2^64.
  expect_refused(with(GgmlType::kF32, {1ULL << 32, 1ULL << 32}), StatusCode::kDataLoss,
                 "the product");
  expect_refused(with(GgmlType::kF32, {1ULL << 62, 4, 1, 1}), StatusCode::kDataLoss, "the product");
  expect_refused(with(GgmlType::kF32, {(1ULL << 62) + 1}), StatusCode::kDataLoss,
                 "beyond 2^64 bytes");
  expect_refused(with(GgmlType::kF32, {1ULL << 63}), StatusCode::kDataLoss, "the product");
  expect_refused(with(GgmlType::kF32, {0}), StatusCode::kDataLoss, "an extent is 0");
  expect_refused(with(GgmlType::kF32, {}), StatusCode::kDataLoss, "0 extents");
  expect_refused(with(GgmlType::kF32, {1, 1, 1, 1, 1}), StatusCode::kDataLoss, "5 extents");
  expect_refused(with(GgmlType::kQ4_K, {128, 2}), StatusCode::kDataLoss,
                 "not whole blocks of 256 (Q4_K)");
}

TEST(Gguf, RefusesTensorsOutsideTheDataOrOverEachOther) {
  const auto at = [](std::uint64_t offset) {
    GgufWriter writer;
    writer.add_f32("w", {64}, std::vector<float>(64));
    writer.force_offset = true;
    writer.forced_offset = offset;
    return writer.finish();
  };
  EXPECT_TRUE(parse_status(at(0)).ok());
  expect_refused(at(32), StatusCode::kDataLoss, "256 bytes at offset 32 reach past the 256 bytes");
  expect_refused(at(kHuge - 31), StatusCode::kDataLoss, "reach past");
  expect_refused(at(16), StatusCode::kDataLoss, "offset 16 is not a multiple of the alignment 32");
  GgufWriter overlapping;
  overlapping.add_f32("a", {64}, std::vector<float>(64)).add_f32("b", {8}, std::vector<float>(8));
  overlapping.force_offset = true;
  expect_refused(overlapping.finish(), StatusCode::kDataLoss, "overlap at offset 0");
}

TEST(Gguf, NamesUnreadableTypes) {
  GgufWriter writer;
  writer.add_f32("w", {256}, std::vector<float>(256));
  writer.force_type = true;
  writer.forced_type = 16;
  expect_refused(writer.finish(), StatusCode::kUnsupported,
                 "tensor \"w\": element type IQ2_XXS (16)");
  writer.forced_type = 999;
  expect_refused(writer.finish(), StatusCode::kUnsupported, "unknown (999)");
  writer.forced_type = 0xffffffff;
  expect_refused(writer.finish(), StatusCode::kUnsupported, "readable are F32, F16");
}

TEST(Gguf, MessagesEscapeAndCutHostileText) {
  const std::string hostile = "\x1b[31m\n\xff" + std::string(1000, 'x');
  const Status status = parse_status(GgufWriter().add(hostile, true).add(hostile, true).finish());
  EXPECT_THAT(status.message(), HasSubstr("\\x1b[31m\\x0a\\xff"));
  EXPECT_LT(status.message().size(), 300U);
  EXPECT_EQ(status.message().find('\x1b'), std::string::npos);
}

TEST(Gguf, SurvivesRandomDamage) {
  const auto good = good_file().finish();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random() & 0xff);
    const auto file = GgufFile::parse(bytes, "test.gguf");
    if (!file.ok()) {
      ++refused;
      continue;
    }
    const auto* end = bytes.data() + bytes.size();
    for (const GgufTensor& tensor : file->tensors()) {
      ASSERT_GE(tensor.bytes.data(), bytes.data());
      ASSERT_LE(tensor.bytes.data() + tensor.bytes.size(), end);
    }
    for (const GgufEntry& entry : file->metadata())
      ASSERT_LE(entry.bytes.data() + entry.bytes.size(), end);
  }
  EXPECT_GT(refused,
            1000);  // Most damage is noticed: the rest hits values whose every pattern is valid.
}

TEST(Gguf, OpenNamesWhatIsWrongWithThePath) {
  const std::string folder = ::testing::TempDir() + "/onebeat_gguf_open";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto status_of = [](const std::string& path) { return GgufFile::open(path).status(); };

  EXPECT_EQ(status_of(folder + "/none.gguf").code(), StatusCode::kNotFound);
  EXPECT_THAT(status_of(folder + "/none.gguf").message(), HasSubstr("none.gguf: no such file"));
  EXPECT_THAT(status_of(folder).message(), HasSubstr("is a folder"));
  std::ofstream(folder + "/empty.gguf").close();
  EXPECT_THAT(status_of(folder + "/empty.gguf").message(), HasSubstr("the file is empty"));
  ASSERT_EQ(::mkfifo((folder + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(status_of(folder + "/pipe").message(), HasSubstr("not a regular file"));
  std::ofstream(folder + "/text.gguf") << "hello";
  EXPECT_EQ(status_of(folder + "/text.gguf").code(), StatusCode::kUnsupported);
  if (::geteuid() != 0) {  // root may read everything
    std::filesystem::permissions(folder + "/text.gguf", std::filesystem::perms::none);
    EXPECT_EQ(status_of(folder + "/text.gguf").code(), StatusCode::kUnavailable);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace onebeat
