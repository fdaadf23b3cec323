// SPDX-License-Identifier: Apache-2.0
#include "json/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>

namespace onebeat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

void expect_refused(const std::string& text, StatusCode code, const std::string& says,
                    const JsonLimits& limits = {}) {
  const Status status = JsonDocument::parse(text, "x.json", limits).status();
  EXPECT_EQ(status.code(), code) << text.substr(0, 80) << ": " << to_string(status);
  EXPECT_THAT(status.message(), AllOf(StartsWith("x.json: "), HasSubstr(says)));
}

TEST(Json, ReadsEveryKind) {
  const auto document = JsonDocument::parse(
      R"( {"z": [1, -2, 2.5, 1e3, true, null, "a\u00e9\n\ud83d\ude00"], "a": {"inner": {}, "b": []},
          "big": 18446744073709551615, "long": "text"} )",
      "x.json");
  ASSERT_TRUE(document.ok()) << to_string(document.status());
  const JsonValue root = document->root();
  ASSERT_EQ(root.kind(), JsonKind::kObject);
  ASSERT_EQ(root.size(), 4U);
  EXPECT_EQ(root.name(0), "a");
  EXPECT_EQ(root.name(3), "z");
  const JsonValue z = *root.find("z");
  ASSERT_EQ(z.size(), 7U);
  EXPECT_EQ(*z.at(0).as<std::int32_t>(), 1);
  EXPECT_EQ(*z.at(1).as<std::int64_t>(), -2);
  EXPECT_EQ(*z.at(1).as<double>(), -2.0);
  EXPECT_EQ(*z.at(2).as<float>(), 2.5F);
  EXPECT_EQ(*z.at(3).as<double>(), 1000.0);
  EXPECT_EQ(z.at(3).kind(), JsonKind::kReal);
  EXPECT_TRUE(*z.at(4).as<bool>());
  EXPECT_TRUE(z.at(5).is(JsonKind::kNull));
  EXPECT_EQ(*z.at(6).as<std::string_view>(), "a\xc3\xa9\n\xf0\x9f\x98\x80");
  EXPECT_EQ(*root.required<std::uint64_t>("big"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(root.find("a")->find("inner")->size(), 0U);
  EXPECT_EQ(root.find("a")->find("b")->kind(), JsonKind::kArray);
  EXPECT_FALSE(root.find("none").has_value());
  EXPECT_FALSE(z.find("none").has_value());
}

TEST(Json, GettersNameWhatIsThereAndWhatIsNeeded) {
  const auto document = JsonDocument::parse(
      R"({"n": -1, "s": "5", "real": 4.0, "null": null, "big": 5000000000, "huge": 1e300})",
      "x.json");
  ASSERT_TRUE(document.ok());
  const JsonValue root = document->root();
  const auto says = [](const auto& result, const std::string& text) {
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(result.status().message(), HasSubstr(text));
  };
  says(root.required<std::uint32_t>("n"), "\"n\": it is -1; a 32-bit integer from 0 up is needed");
  says(root.required<std::int32_t>("s"), "it is a string; a 32-bit integer is needed");
  says(root.required<std::int32_t>("real"), "it is a number with a fraction");
  says(root.required<std::int32_t>("big"), "it is 5000000000");
  says(root.required<float>("huge"), "beyond what can be held");
  says(root.required<bool>("null"), "it is null; true or false is needed");
  EXPECT_EQ(root.required<bool>("gone").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(*root.optional<std::int32_t>("gone", 7), 7);
  EXPECT_EQ(*root.optional<std::int32_t>("null", 7), 7);
  says(root.optional<std::int32_t>("s", 7), "it is a string");
  says(root.find("s")->required<std::int32_t>("x"), "not an object");
}

TEST(Json, RealNumbersAreRoundedToTheNearest) {
  // Each differs from what a digit-by-digit sum with powers of ten gives.
  for (const char* text :
       {"1e-06", "0.1", "4.9406564584124654e-324", "1.7976931348623157e308", "123456789.123456789",
        "9007199254740993.0", "0.00000000000000000000000000000001"}) {
    const auto document = JsonDocument::parse(text, "x.json");
    ASSERT_TRUE(document.ok()) << text;
    EXPECT_EQ(*document->root().as<double>(), std::strtod(text, nullptr)) << text;
  }
}

TEST(Json, RefusesWhatIsNotJson) {
  expect_refused("", StatusCode::kDataLoss, "not valid JSON at byte 0");
  expect_refused("{\"a\": 1", StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[1,]", StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[1] // note", StatusCode::kDataLoss, "at byte 4");
  expect_refused("[1] [2]", StatusCode::kDataLoss, "more follows");
  expect_refused("[NaN]", StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[01]", StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[\"\xff\"]", StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[\"\xc0\x80\"]", StatusCode::kDataLoss, "not valid JSON");
  expect_refused(R"(["\ud800"])", StatusCode::kDataLoss, "not valid JSON");
  expect_refused(std::string("[\"a\0b\"]", 7), StatusCode::kDataLoss, "not valid JSON");
  expect_refused("[1e999]", StatusCode::kOutOfRange, "\"1e999\" cannot be held");
}

TEST(Json, RefusesNamesThatAppearTwice) {
  expect_refused(R"({"a": 1, "b": 2, "a": 3})", StatusCode::kDataLoss,
                 "\"a\" appears twice in one object");
  expect_refused(R"({"x": [{"k": {"a": 1}, "\u006b": 2}]})", StatusCode::kDataLoss,
                 "\"k\" appears twice");
  EXPECT_TRUE(JsonDocument::parse(R"({"a": {"a": 1}, "b": {"a": 2}})", "x.json").ok());
}

TEST(Json, RefusesWhatIsBeyondTheLimits) {
  const std::string deep(60'000, '[');
  expect_refused(deep, StatusCode::kOutOfRange, "more than 32 arrays and objects");
  std::string nested = "1";
  for (int i = 0; i < 32; ++i) nested = "[" + nested + "]";
  EXPECT_TRUE(JsonDocument::parse(nested, "x.json").ok());
  expect_refused("[" + nested + "]", StatusCode::kOutOfRange, "more than 32");

  JsonLimits few;
  few.max_values = 3;
  EXPECT_TRUE(JsonDocument::parse("[1,2]", "x.json", few).ok());
  expect_refused("[1,2,3]", StatusCode::kOutOfRange, "more than 3 values", few);
  JsonLimits small;
  small.max_bytes = 4;
  expect_refused("[1,2]", StatusCode::kOutOfRange, "5 bytes of JSON; the limit is 4", small);
}

TEST(Json, KeepsItsTextsWhenTheDocumentMoves) {
  auto document = JsonDocument::parse(R"({"k": "v"})", "x.json");
  ASSERT_TRUE(document.ok());
  const JsonDocument moved = std::move(*document);
  EXPECT_EQ(*moved.root().required<std::string_view>("k"), "v");
}

}  // namespace
}  // namespace onebeat
