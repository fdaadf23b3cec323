// SPDX-License-Identifier: Apache-2.0
#include "onebeat/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace onebeat {
namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return invalid_argument("{} is odd", x);
  return x / 2;
}

Result<int> quarter(int x) {
  ONEBEAT_ASSIGN_OR_RETURN(const int h, half(x));
  return half(h);
}

Status check_quarter(int x) {
  ONEBEAT_RETURN_IF_ERROR(quarter(x).status());
  return {};
}

TEST(Status, DefaultIsSuccess) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(to_string(Status()), "ok");
  EXPECT_TRUE(Status().with_context("reading").ok());
}

TEST(Status, FailureNamesCodeAndMessage) {
  const Status status = plan_mismatch("plan is for {} heads, the launch for {}", 1, 8);
  EXPECT_EQ(status.code(), StatusCode::kPlanMismatch);
  EXPECT_EQ(to_string(status), "plan_mismatch: plan is for 1 heads, the launch for 8");
  EXPECT_EQ(status.with_context("layer 3").message(),
            "layer 3: plan is for 1 heads, the launch for 8");
}

TEST(Result, MacrosPassValuesAndFailuresOn) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).status().message(), "3 is odd");
  EXPECT_TRUE(check_quarter(8).ok());
  EXPECT_EQ(check_quarter(7).code(), StatusCode::kInvalidArgument);
}

TEST(Result, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
  std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 7);
}

TEST(Result, TheValueOfATemporaryOutlivesIt) {
  const auto three = [] { return Result<std::vector<int>>(std::vector<int>{1, 2, 3}); };
  int sum = 0;
  for (const int number : three().value()) sum += number;
  EXPECT_EQ(sum, 6);
  static_assert(!std::is_reference_v<decltype(three().value())>);
}

}  // namespace
}  // namespace onebeat
