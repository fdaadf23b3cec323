// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_capability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onebeat {
namespace {

TEST(CudaCapability, ArchitecturesServeWhatCudaSaysTheyDo) {
  struct Case {
    const char* built;
    int major;
    int minor;
    bool serves;
  };
  for (const Case& c : {Case{"90a", 9, 0, true},
                        {"90a", 10, 0, false},
                        {"90a", 8, 0, false},
                        {"80", 8, 0, true},
                        {"80", 8, 9, true},
                        {"80", 9, 0, true},
                        {"80", 7, 5, false},
                        {"80-real", 8, 6, true},
                        {"80-real", 9, 0, false},
                        {"86-real", 8, 0, false},
                        {"80-virtual", 12, 0, true},
                        {"80-virtual", 7, 5, false},
                        {"80-real,90a", 9, 0, true},
                        {"80-real,90a", 10, 0, false},
                        {"80-real,90a,100-real", 10, 3, true},
                        {"100f", 10, 0, true},
                        {"100f", 10, 3, false},
                        {"", 9, 0, false},
                        {"native", 9, 0, false},
                        {",,90a", 9, 0, true}}) {
    EXPECT_EQ(architectures_serve(c.built, {c.major, c.minor}), c.serves)
        << c.built << " on " << c.major << "." << c.minor;
  }
}

TEST(CudaCapability, AnUnknownOneIsRefusedByNameWithWhatIsBuilt) {
  EXPECT_FALSE(built_architectures().empty());
  const Status refused = check_capability({1, 3});
  EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
  EXPECT_THAT(refused.message(), testing::HasSubstr("compute capability 1.3"));
  EXPECT_THAT(refused.message(), testing::HasSubstr(built_architectures()));
}

}  // namespace
}  // namespace onebeat
