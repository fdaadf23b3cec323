// SPDX-License-Identifier: Apache-2.0
#include "model/hub/model_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "model/hub/catalog.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

class ModelCacheTest : public testing::Test {
 protected:
  ModelCacheTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    unsetenv("ONEBEAT_CACHE");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/home/somebody", 1);
  }
  ~ModelCacheTest() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name) << content;
  }

  fs::path folder_ =
      fs::path(testing::TempDir()) / ("model_cache_test_" + std::to_string(getpid()));
};

TEST(Catalog, RowsAreWellFormed) {
  for (const CatalogModel& model : catalog()) {
    EXPECT_EQ(find_in_catalog(model.name), &model) << "two models are called " << model.name;
    EXPECT_EQ(model.name.find_first_of("/."), std::string_view::npos) << "looks like a path";
    EXPECT_EQ(model.sha256.size(), 64U);
    EXPECT_EQ(model.sha256.find_first_not_of("0123456789abcdef"), std::string_view::npos);
    EXPECT_TRUE(model.file_name.ends_with(".gguf"));
    ASSERT_FALSE(model.parts.empty());
    for (const ModelPart& part : model.parts) {
      EXPECT_NE(part.package.find("=="), std::string_view::npos) << "a part has a pinned version";
      EXPECT_GT(part.download_bytes, 0);
    }
  }
  EXPECT_NE(find_in_catalog("smollm2"), nullptr);
  EXPECT_EQ(find_in_catalog("SmolLM"), nullptr);
}

TEST_F(ModelCacheTest, FolderFollowsTheVariablesInOrder) {
  EXPECT_EQ(*model_cache_folder(), "/home/somebody/.cache/onebeat");
  setenv("XDG_CACHE_HOME", "relative", 1);
  EXPECT_EQ(*model_cache_folder(), "/home/somebody/.cache/onebeat");
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(*model_cache_folder(), "/xdg/onebeat");
  setenv("ONEBEAT_CACHE", "/mine", 1);
  EXPECT_EQ(*model_cache_folder(), "/mine");
  setenv("ONEBEAT_CACHE", "", 1);
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(model_cache_folder().status().code(), StatusCode::kNotFound);
}

TEST_F(ModelCacheTest, ListsModelsAndNothingElse) {
  write("SmolLM2-135M-Instruct.Q4_1.gguf", "12345");
  write("mine.gguf", "123");
  write("notes.txt", "1");
  fs::create_directories(folder_ / "folder.gguf");
  fs::create_directories(folder_ / ".pull-abc");
  const auto models = list_cached_models(folder_);
  ASSERT_TRUE(models.ok());
  ASSERT_EQ(models->size(), 2U);
  EXPECT_EQ((*models)[0].name, "mine.gguf");
  EXPECT_EQ((*models)[0].size_bytes, 3);
  EXPECT_EQ((*models)[1].name, "smollm2");
  EXPECT_EQ((*models)[1].path, folder_ / "SmolLM2-135M-Instruct.Q4_1.gguf");
}

TEST_F(ModelCacheTest, AMissingFolderIsEmptyAndAFileIsAnError) {
  EXPECT_TRUE(list_cached_models(folder_ / "none")->empty());
  write("file", "");
  const Status status = list_cached_models(folder_ / "file").status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find((folder_ / "file").string()), std::string::npos);
}

TEST_F(ModelCacheTest, ResolvesNamesAndPaths) {
  setenv("ONEBEAT_CACHE", folder_.c_str(), 1);
  const Status missing = resolve_model("smollm2").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("onebeat pull smollm2"), std::string::npos);

  write("SmolLM2-135M-Instruct.Q4_1.gguf", "12345");
  EXPECT_EQ(*resolve_model("smollm2"), folder_ / "SmolLM2-135M-Instruct.Q4_1.gguf");
  write("mine.gguf", "123");
  EXPECT_EQ(*resolve_model((folder_ / "mine.gguf").string()), folder_ / "mine.gguf");
  EXPECT_EQ(*resolve_model(folder_.string()), folder_) << "folders hold safetensors";

  for (const char* nothing : {"", "no-such-model", "/no/such/file.gguf"}) {
    const Status status = resolve_model(nothing).status();
    EXPECT_EQ(status.code(), StatusCode::kNotFound) << nothing;
    EXPECT_NE(status.message().find("smollm2"), std::string::npos) << "names what is known";
  }
}

TEST_F(ModelCacheTest, ResolvingSaysWhyTheFolderCannotBeRead) {
  write("file", "");
  setenv("ONEBEAT_CACHE", (folder_ / "file").c_str(), 1);
  const Status status = resolve_model("smollm2").status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("smollm2"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace onebeat
