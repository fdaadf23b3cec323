// SPDX-License-Identifier: Apache-2.0
#include "model/hub/subprocess.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace onebeat {
namespace {

class SubprocessTest : public testing::Test {
 protected:
  Result<int> run_shell(const std::string& script, std::vector<std::string> environment = {}) {
    return run_subprocess({{"sh", "-c", script}, std::move(environment), log_},
                          [] { return true; });
  }
  std::string log() const {
    std::ifstream input(log_);
    return {std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  }
  std::filesystem::path log_ =
      std::filesystem::path(testing::TempDir()) / ("subprocess_test_" + std::to_string(getpid()));
};

TEST_F(SubprocessTest, GivesTheExitCodeAndTheErrors) {
  EXPECT_EQ(*run_shell("exit 0"), 0);
  EXPECT_EQ(*run_shell("echo out; echo bad >&2; exit 7"), 7);
  EXPECT_EQ(log(), "bad\n");
  EXPECT_EQ(*run_shell("kill -9 $$"), 128 + 9);
}

TEST_F(SubprocessTest, ChangesOnlyTheNamedVariables) {
  setenv("ONEBEAT_TEST_KEPT", "kept", 1);
  setenv("ONEBEAT_TEST_CHANGED", "old", 1);
  ASSERT_EQ(
      *run_shell("echo $ONEBEAT_TEST_KEPT $ONEBEAT_TEST_CHANGED >&2", {"ONEBEAT_TEST_CHANGED=new"}),
      0);
  EXPECT_EQ(log(), "kept new\n");
}

TEST_F(SubprocessTest, MissingProgram) {
  const auto result = run_subprocess({{"no-such-program-anywhere"}, {}, log_}, [] { return true; });
  EXPECT_EQ(result.status().code(), StatusCode::kNotFound);
  EXPECT_NE(result.status().message().find("no-such-program-anywhere"), std::string::npos);
}

TEST_F(SubprocessTest, EndsTheProgramWhenAsked) {
  int calls = 0;
  const auto result =
      run_subprocess({{"sleep", "1000"}, {}, log_}, [&calls] { return ++calls < 2; });
  EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace onebeat
