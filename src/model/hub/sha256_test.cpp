// SPDX-License-Identifier: Apache-2.0
#include "model/hub/sha256.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace onebeat {
namespace {

std::filesystem::path file_of(const std::string& content) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / ("sha256_test_" + std::to_string(getpid()));
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

// The vectors of FIPS 180-2, appendix B, and its length-0 case.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(*sha256_of_file(file_of("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(*sha256_of_file(file_of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*sha256_of_file(file_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

// The million letters "a" of the same appendix, several times over one read's size.
TEST(Sha256, LongFileAndProgress) {
  const auto path = file_of(std::string(1'000'000, 'a'));
  std::int64_t last = 0;
  const auto digest = sha256_of_file(path, [&last](std::int64_t done) {
    EXPECT_GT(done, last);
    last = done;
    return true;
  });
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(*digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(last, 1'000'000);
}

TEST(Sha256, StopsWhenAsked) {
  EXPECT_EQ(sha256_of_file(file_of("abc"), [](std::int64_t) { return false; }).status().code(),
            StatusCode::kCancelled);
}

TEST(Sha256, MissingFileAndFolder) {
  EXPECT_EQ(sha256_of_file("/nonexistent/file").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(sha256_of_file("/").status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace onebeat
