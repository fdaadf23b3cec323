// SPDX-License-Identifier: Apache-2.0
#include "model/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace onebeat {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string little_endian(std::uint64_t value) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

/// A file with this header and so many bytes of data, each its own number.
std::string file_of(std::string header, std::size_t data_bytes) {
  while (header.size() % 8 != 0) header += ' ';
  std::string file = little_endian(header.size()) + header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

/// An aligned copy, parsed.
struct Parsed {
  explicit Parsed(const std::string& text) : words((text.size() + 7) / 8 + 1) {
    std::memcpy(words.data(), text.data(), text.size());
    bytes = std::as_bytes(std::span(words)).first(text.size());
  }
  std::vector<std::uint64_t> words;
  std::span<const std::byte> bytes;
  Result<SafetensorsFile> file() const { return SafetensorsFile::parse(bytes, "x.safetensors"); }
};

void expect_refused(const std::string& text, StatusCode code, const std::string& says) {
  const Status status = Parsed(text).file().status();
  EXPECT_EQ(status.code(), code) << to_string(status);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("x.safetensors: "), HasSubstr(says)));
}

void expect_header_refused(const std::string& header, std::size_t data_bytes,
                           const std::string& says, StatusCode code = StatusCode::kDataLoss) {
  expect_refused(file_of(header, data_bytes), code, says);
}

const char* const kGoodHeader =
    R"({"__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "scale": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
        "h": {"dtype": "F16", "shape": [5], "data_offsets": [26, 36]},
        "none": {"dtype": "F16", "shape": [0, 7], "data_offsets": [36, 36]}})";

TEST(Safetensors, ReadsTensorsInPlace) {
  const Parsed parsed(file_of(kGoodHeader, 36));
  const auto file = parsed.file();
  ASSERT_TRUE(file.ok()) << to_string(file.status());
  ASSERT_EQ(file->tensors().size(), 4U);
  const SafetensorsTensor* w = file->find_tensor("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->type, SafetensorsType::kF32);
  EXPECT_THAT(w->shape, ElementsAre(2, 3));
  EXPECT_EQ(w->elements, 6U);
  EXPECT_EQ(w->bytes.data(), parsed.bytes.data() + parsed.bytes.size() - 36);
  EXPECT_EQ(w->bytes.size(), 24U);
  const SafetensorsTensor* scale = file->find_tensor("scale");
  ASSERT_NE(scale, nullptr);
  EXPECT_EQ(scale->type, SafetensorsType::kBF16);
  EXPECT_TRUE(scale->shape.empty());
  EXPECT_EQ(scale->elements, 1U);
  EXPECT_EQ(std::to_integer<int>(scale->bytes[0]), 24);
  EXPECT_EQ(file->find_tensor("h")->bytes.size(), 10U);
  EXPECT_EQ(file->find_tensor("none")->elements, 0U);
  EXPECT_EQ(file->find_tensor("none")->bytes.size(), 0U);
  EXPECT_EQ(file->find_tensor("x"), nullptr);
  EXPECT_EQ(file->find_tensor("__metadata__"), nullptr);
}

TEST(Safetensors, RefusesHeadersBeyondTheFile) {
  expect_refused("", StatusCode::kDataLoss, "0 bytes are too short");
  expect_refused("1234567", StatusCode::kDataLoss, "7 bytes are too short");
  expect_refused(little_endian(3) + "{}", StatusCode::kDataLoss,
                 "a header of 3 bytes is stated, but the file ends after 2");
  expect_refused(little_endian(100'000'001) + "{}", StatusCode::kDataLoss,
                 "the limit is 100000000");
  expect_refused(little_endian(~std::uint64_t{0}) + "{}", StatusCode::kDataLoss,
                 "a header of 18446744073709551615 bytes");
  expect_refused(little_endian(0), StatusCode::kDataLoss, "must be a JSON object");
  expect_refused(little_endian(3) + " {}", StatusCode::kDataLoss, "must be a JSON object");
  expect_refused("GGUF\x03\0\0\0\0\0\0\0", StatusCode::kDataLoss, "too short");
}

TEST(Safetensors, RefusesHeadersThatAreNotWhatTheyShouldBe) {
  expect_header_refused("{", 0, "not valid JSON");
  expect_header_refused("{} {}", 0, "more follows");
  expect_header_refused("{\"\xff\": 1}", 0, "not valid JSON");
  expect_header_refused("{\"a\": " + std::string(60'000, '['), 0, "inside each other",
                        StatusCode::kOutOfRange);
  expect_header_refused(R"({"w": 3})", 0, "tensor \"w\": it is an integer");
  expect_header_refused(R"({"": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}})", 2,
                        "has no name");
  expect_header_refused(R"({"w": {"shape": [1], "data_offsets": [0, 2]}})", 2,
                        "\"dtype\" is missing");
  expect_header_refused(R"({"w": {"dtype": 3, "shape": [1], "data_offsets": [0, 2]}})", 2,
                        "\"dtype\": it is an integer");
  expect_header_refused(R"({"w": {"dtype": "F16", "data_offsets": [0, 2]}})", 2,
                        "\"shape\" is missing");
  expect_header_refused(R"({"w": {"dtype": "F16", "shape": [1]}})", 2,
                        "\"data_offsets\" is missing");
  expect_header_refused(R"({"w": {"dtype": "F16", "shape": 1, "data_offsets": [0, 2]}})", 2,
                        "it must be an array");
  expect_header_refused(R"({"w": {"dtype": "F16", "shape": [1.0], "data_offsets": [0, 2]}})", 2,
                        "element 0: it is a number with a fraction");
  expect_header_refused(R"({"w": {"dtype": "F16", "shape": [-1], "data_offsets": [0, 2]}})", 2,
                        "element 0: it is -1");
  expect_header_refused(
      R"({"w": {"dtype": "F16", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 2]}})", 2,
      "has 9 numbers; the limit is 8");
  expect_header_refused(R"({"w": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2], "x": 1}})",
                        2, "\"x\" is no part of the format");
  expect_header_refused(R"({"__metadata__": {"a": 1}})", 0, "\"a\" is an integer");
  expect_header_refused(R"({"__metadata__": []})", 0, "an object of strings");
}

TEST(Safetensors, NamesTypesThatCannotBeRead) {
  for (const std::string type : {"F64", "I8", "U8", "I64", "BOOL", "F8_E4M3", "f32", ""}) {
    expect_header_refused(
        R"({"w": {"dtype": ")" + type + R"(", "shape": [1], "data_offsets": [0, 8]}})", 8,
        "tensor \"w\": elements of type \"" + type + "\" cannot be read", StatusCode::kUnsupported);
  }
}

TEST(Safetensors, RefusesSizesThatDoNotFitTypeAndShape) {
  const auto header = [](const std::string& shape, const std::string& offsets) {
    return R"({"w": {"dtype": "F32", "shape": )" + shape + R"(, "data_offsets": )" + offsets + "}}";
  };
  expect_header_refused(header("[3]", "[0, 8]"), 8, "3 elements of type F32 take 12 bytes");
  expect_header_refused(header("[1]", "[0, 8]"), 8, "leave 8");
  expect_header_refused(header("[]", "[0, 0]"), 0, "1 elements of type F32 take 4 bytes");
  expect_header_refused(header("[4294967296, 4294967296]", "[0, 0]"), 0, "beyond 2^63");
  expect_header_refused(header("[4611686018427387904]", "[0, 0]"), 0, "beyond 2^63");
  expect_header_refused(header("[2305843009213693952]", "[0, 9223372036854775808]"), 0,
                        "beyond 2^63");
  expect_header_refused(header("[18446744073709551615]", "[0, 0]"), 0, "beyond 2^63");
  expect_header_refused(header("[1]", "[8, 4]"), 8, "must be two numbers");
  expect_header_refused(header("[1]", "[0]"), 8, "must be two numbers");
  expect_header_refused(header("[1]", "[0, 4, 8]"), 8, "must be two numbers");
}

std::string two_tensors(const std::string& first, const std::string& second) {
  return R"({"a": {"dtype": "F16", "shape": [2], "data_offsets": )" + first +
         R"(}, "b": {"dtype": "F16", "shape": [2], "data_offsets": )" + second + "}}";
}

TEST(Safetensors, RefusesOverlapsHolesAndOffsetsOutsideTheFile) {
  EXPECT_TRUE(Parsed(file_of(two_tensors("[4, 8]", "[0, 4]"), 8)).file().ok());
  expect_header_refused(two_tensors("[0, 4]", "[0, 4]"), 4, "overlaps the one before it");
  expect_header_refused(two_tensors("[0, 4]", "[2, 6]"), 6, "tensor \"b\" at offset 2 overlaps");
  expect_header_refused(two_tensors("[0, 4]", "[6, 10]"), 10, "bytes 4 to 6 of the data");
  expect_header_refused(two_tensors("[2, 6]", "[6, 10]"), 10, "bytes 0 to 2 of the data");
  expect_header_refused(two_tensors("[0, 4]", "[4, 8]"), 9, "the last 1 bytes of the file");
  expect_header_refused(two_tensors("[0, 4]", "[4, 8]"), 7, "reach past the 7 bytes");
  expect_header_refused(two_tensors("[0, 4]", "[18446744073709551612, 18446744073709551615]"), 8,
                        "2 elements of type F16 take 4 bytes");
  expect_header_refused(two_tensors("[0, 4]", "[18446744073709551611, 18446744073709551615]"), 8,
                        "reach past");
  expect_header_refused("{}", 1, "the last 1 bytes");
}

TEST(Safetensors, RefusesNamesThatAppearTwice) {
  expect_header_refused(
      R"({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
          "a": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}})",
      4, "\"a\" appears twice");
}

TEST(Safetensors, RefusesTensorsThatAreNotAligned) {
  expect_header_refused(
      R"({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
          "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}})",
      6, "tensor \"b\" starts at byte", StatusCode::kUnsupported);
  std::string header = R"({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}})";
  while (header.size() % 2 == 0) header += ' ';
  expect_refused(little_endian(header.size()) + header + "xx", StatusCode::kUnsupported,
                 "no multiple of its element's 2");
}

TEST(Safetensors, EveryTruncationAndEveryFlippedByteIsHandled) {
  const std::string good = file_of(kGoodHeader, 36);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(Parsed(good.substr(0, size)).file().ok()) << size;
  }
  std::mt19937 random(20240701);
  for (std::size_t i = 0; i < good.size() - 36; ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << random() % 8));
    const Parsed parsed(bad);
    if (const auto file = parsed.file(); file.ok()) {  // A changed letter of a name, for one.
      for (const auto& tensor : file->tensors()) {
        EXPECT_EQ(tensor.bytes.size(), tensor.elements * element_bytes(tensor.type));
      }
    }
  }
}

/// A folder of its own that is removed at the end.
class SafetensorsFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("onebeat_safetensors_" + std::to_string(getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary)
        .write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  void write_index(const std::string& map) const {
    write("model.safetensors.index.json",
          R"({"metadata": {"total_size": 4}, "weight_map": )" + map + "}");
  }
  static std::string one_tensor(const std::string& name) {
    return file_of(R"({")" + name + R"(": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}})",
                   2);
  }
  void expect_refused(StatusCode code, const std::string& says) const {
    const Status status = SafetensorsModel::open(folder_).status();
    EXPECT_EQ(status.code(), code) << to_string(status);
    EXPECT_THAT(status.message(), AllOf(HasSubstr(folder_.string()), HasSubstr(says)));
  }

  fs::path folder_;
};

TEST_F(SafetensorsFolder, OpensASingleFile) {
  write("model.safetensors", file_of(kGoodHeader, 36));
  for (const fs::path& path : {folder_, folder_ / "model.safetensors"}) {
    const auto model = SafetensorsModel::open(path);
    ASSERT_TRUE(model.ok()) << to_string(model.status());
    EXPECT_EQ(model->tensors().size(), 4U);
    ASSERT_NE(model->find_tensor("w"), nullptr);
    EXPECT_EQ(std::to_integer<int>(model->find_tensor("w")->bytes[23]), 23);
  }
}

TEST_F(SafetensorsFolder, OpensShardsThroughTheirIndex) {
  write("model-00001-of-00002.safetensors", one_tensor("b"));
  write("model-00002-of-00002.safetensors", one_tensor("a"));
  write_index(R"({"b": "model-00001-of-00002.safetensors",
                  "a": "model-00002-of-00002.safetensors"})");
  auto opened = SafetensorsModel::open(folder_);
  ASSERT_TRUE(opened.ok()) << to_string(opened.status());
  const SafetensorsModel model = std::move(*opened);
  EXPECT_EQ(model.files().size(), 2U);
  ASSERT_EQ(model.tensors().size(), 2U);
  EXPECT_EQ(model.tensors()[0]->name, "a");
  ASSERT_NE(model.find_tensor("b"), nullptr);
  EXPECT_EQ(std::to_integer<int>(model.find_tensor("b")->bytes[1]), 1);
  EXPECT_EQ(model.find_tensor("c"), nullptr);
}

TEST_F(SafetensorsFolder, FollowsLinksAsModelCachesUseThem) {
  write("blob", one_tensor("a"));
  fs::create_symlink("blob", folder_ / "model.safetensors");
  EXPECT_TRUE(SafetensorsModel::open(folder_).ok());
}

TEST_F(SafetensorsFolder, SaysWhatIsMissing) {
  expect_refused(StatusCode::kNotFound,
                 "neither model.safetensors nor model.safetensors.index.json");
  write_index(R"({"a": "model-00001-of-00001.safetensors"})");
  expect_refused(StatusCode::kNotFound, "model-00001-of-00001.safetensors");
  write("model-00001-of-00001.safetensors", one_tensor("other"));
  expect_refused(StatusCode::kDataLoss,
                 "tensor \"a\" is not in model-00001-of-00001.safetensors, where the index");
  EXPECT_EQ(SafetensorsModel::open(folder_ / "gone.safetensors").status().code(),
            StatusCode::kNotFound);
}

TEST_F(SafetensorsFolder, RefusesAnIndexThatLeavesTheFolder) {
  fs::create_directories(folder_ / "sub");
  write("sub/a.safetensors", one_tensor("a"));
  for (const std::string& name :
       {std::string("../a.safetensors"), std::string("sub/a.safetensors"),
        "" + (folder_ / "sub/a.safetensors").string(), std::string("..\\\\a.safetensors"),
        std::string("C:a.safetensors"), std::string("a.safetensors\\u0000.safetensors"),
        std::string(".safetensors"), std::string("..safetensors"), std::string("a.bin"),
        std::string(""), std::string(".."), std::string(300, 'a') + ".safetensors"}) {
    write_index(R"({"a": ")" + name + R"("})");
    expect_refused(StatusCode::kDataLoss, "is not the plain name of a .safetensors file");
  }
}

TEST_F(SafetensorsFolder, RefusesADamagedIndex) {
  write("model-1.safetensors", one_tensor("a"));
  const auto refused = [&](const std::string& index, const std::string& says,
                           StatusCode code = StatusCode::kDataLoss) {
    write("model.safetensors.index.json", index);
    expect_refused(code, says);
  };
  refused("{", "not valid JSON");
  refused("[]", "\"weight_map\" must be an object");
  refused(R"({"weight_map": ["a"]})", "\"weight_map\" must be an object");
  refused(R"({"weight_map": {}})", "is empty");
  refused(R"({"weight_map": {"a": 1}})", "\"a\": it is an integer");
  refused(R"({"weight_map": {"a": "model-1.safetensors", "a": "model-1.safetensors"}})",
          "\"a\" appears twice");
  refused("{\"weight_map\": " + std::string(100'000, '['), "inside each other",
          StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace onebeat
