// SPDX-License-Identifier: Apache-2.0
#include "environment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace onebeat::cli {
namespace {

/// A program with two commands that share an option name.
class EnvironmentTest : public testing::Test {
 protected:
  EnvironmentTest() {
    for (const char* name : {"ONEBEAT_THREADS", "ONEBEAT_MODEL", "ONEBEAT_MAX_TOKENS",
                             "ONEBEAT_FAST", "ONEBEAT_PROMPT", "ONEBEAT_FILE", "ONEBEAT_STOP"}) {
      unsetenv(name);
    }
    CLI::App* work = app_.add_subcommand("work", "");
    work->add_option("-t,--threads", threads_, "Threads")->check(CLI::Range(1, 64));
    work->add_option("-m,--model", model_, "Model")->required();
    work->add_option("--max-tokens", max_tokens_, "Tokens");
    work->add_flag("--fast", fast_, "Faster");
    work->add_option("--stop", stops_, "Stop strings");
    CLI::Option* prompt = work->add_option("-p,--prompt", prompt_, "Prompt");
    work->add_option("-f,--file", file_, "File")->excludes(prompt);
    work->callback([this] { ++runs_; });
    CLI::App* other = app_.add_subcommand("other", "");
    other->add_option("--threads", other_threads_, "Threads");
    other->callback([this] { ++runs_; });
    app_.require_subcommand(1);
    read_options_from_environment(app_);
  }

  /// Parses as main() does: CLI11 takes the arguments last first.
  void parse(std::vector<std::string> arguments) {
    app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  }

  CLI::App app_;
  int threads_ = 0;
  int other_threads_ = 0;
  std::string model_;
  std::optional<int> max_tokens_;
  bool fast_ = false;
  std::vector<std::string> stops_;
  std::string prompt_;
  std::string file_;
  int runs_ = 0;
};

TEST(EnvironmentName, IsTheOptionInCapitals) {
  EXPECT_EQ(environment_name("max-tokens"), "ONEBEAT_MAX_TOKENS");
  EXPECT_EQ(environment_name("lens"), "ONEBEAT_LENS");
}

TEST_F(EnvironmentTest, ReadsEveryKindOfOption) {
  setenv("ONEBEAT_THREADS", "7", 1);
  setenv("ONEBEAT_MAX_TOKENS", "64", 1);
  setenv("ONEBEAT_FAST", "1", 1);
  setenv("ONEBEAT_STOP", "end", 1);
  parse({"work", "-m", "x"});
  EXPECT_EQ(threads_, 7);
  EXPECT_EQ(max_tokens_, 64);
  EXPECT_TRUE(fast_);
  EXPECT_EQ(stops_, std::vector<std::string>{"end"});
  EXPECT_EQ(runs_, 1);
}

TEST_F(EnvironmentTest, CommandLineWins) {
  setenv("ONEBEAT_THREADS", "7", 1);
  parse({"work", "-m", "x", "--threads", "3"});
  EXPECT_EQ(threads_, 3);
}

TEST_F(EnvironmentTest, SatisfiesARequiredOption) {
  setenv("ONEBEAT_MODEL", "smollm2", 1);
  parse({"work"});
  EXPECT_EQ(model_, "smollm2");
}

TEST_F(EnvironmentTest, ARequiredOptionIsStillRequired) {
  EXPECT_THROW(parse({"work"}), CLI::RequiredError);
  setenv("ONEBEAT_MODEL", "", 1);
  EXPECT_THROW(parse({"work"}), CLI::RequiredError);
  EXPECT_EQ(runs_, 0);
}

TEST_F(EnvironmentTest, RefusesWhatTheOptionDoesNotTakeAndNamesTheVariable) {
  for (const char* bad : {"abc", "0", "65", "3x"}) {
    setenv("ONEBEAT_THREADS", bad, 1);
    try {
      parse({"work", "-m", "x"});
      ADD_FAILURE() << "took " << bad;
    } catch (const CLI::ValidationError& error) {
      EXPECT_NE(std::string(error.what()).find("ONEBEAT_THREADS=" + std::string(bad)),
                std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(runs_, 0);
}

TEST_F(EnvironmentTest, LeavesOtherCommandsAlone) {
  setenv("ONEBEAT_THREADS", "70", 1);  // Out of range for `work`, in range for `other`.
  parse({"other"});
  EXPECT_EQ(other_threads_, 70);
  EXPECT_EQ(threads_, 0);
}

TEST_F(EnvironmentTest, AnExcludedOptionStaysUnset) {
  setenv("ONEBEAT_PROMPT", "from the environment", 1);
  parse({"work", "-m", "x", "--file", "a.txt"});
  EXPECT_EQ(file_, "a.txt");
  EXPECT_EQ(prompt_, "");
}

TEST_F(EnvironmentTest, HelpNamesTheVariable) {
  const std::string help = app_.get_subcommand("work")->help();
  EXPECT_NE(help.find("[ONEBEAT_MAX_TOKENS]"), std::string::npos) << help;
  EXPECT_EQ(help.find("ONEBEAT_HELP"), std::string::npos) << help;
}

}  // namespace
}  // namespace onebeat::cli
