// SPDX-License-Identifier: Apache-2.0
#include "device/machine_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "onebeat/thread_pool.h"

namespace onebeat {
namespace {

using testing::ElementsAre;

// Two sockets of one core with two threads each; the core numbers repeat on each socket.
constexpr std::string_view kCpuinfo =
    "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 0\ncore id\t\t: 0\n"
    "flags\t\t: fpu avx2x xavx2 sse4_2 avx fma avx2\n\n"
    "processor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 0\ncore id\t\t: "
    "0\nflags\t\t: fpu\n\n"
    "processor\t: 2\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 1\ncore id\t\t: "
    "0\nflags\t\t: fpu\n\n"
    "processor\t: 3\nmodel name\t: Some CPU @ 2.00GHz\nphysical id\t: 1\ncore id\t\t: "
    "0\nflags\t\t: fpu";

TEST(MachineFacts, ReadsCpuinfo) {
  const CpuFacts facts = parse_cpuinfo(kCpuinfo);
  EXPECT_EQ(facts.model, "Some CPU @ 2.00GHz");
  EXPECT_EQ(facts.processors, 4);
  EXPECT_EQ(facts.cores, 2);
  EXPECT_THAT(facts.features, ElementsAre("sse4_2", "avx", "fma", "avx2"));
}

// The text of an ARM kernel names no model and no cores.
TEST(MachineFacts, ReadsACpuinfoThatSaysLittle) {
  const CpuFacts facts =
      parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n\nprocessor\t: 1\n");
  EXPECT_EQ(facts.model, "unknown");
  EXPECT_EQ(facts.processors, 2);
  EXPECT_EQ(facts.cores, 0);
  EXPECT_TRUE(facts.features.empty());
  EXPECT_EQ(parse_cpuinfo("").processors, 0);
}

TEST(MachineFacts, ReadsMeminfo) {
  const MemoryFacts facts =
      parse_meminfo("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n");
  EXPECT_EQ(facts.total_bytes, 1'024'000);
  EXPECT_EQ(facts.available_bytes, 256'000);
}

TEST(MachineFacts, ThisMachineHasProcessorsAndMemory) {
  EXPECT_GE(cpu_facts().processors, ThreadPool::available_processors());
  EXPECT_GT(memory_facts().total_bytes, 0);
}

}  // namespace
}  // namespace onebeat
