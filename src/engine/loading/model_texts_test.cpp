// SPDX-License-Identifier: Apache-2.0
// One model as a folder and as a GGUF file: its texts are the same, and what is wrong with a folder
// is said by name.
#include "engine/loading/model_texts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "model/model.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

class ModelTexts : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* models = std::getenv("ONEBEAT_TEST_MODELS");
    if (models == nullptr) GTEST_SKIP() << "ONEBEAT_TEST_MODELS names no folder; CTest sets it";
    models_ = models;
    folder_ = fs::path(::testing::TempDir()) / ("model_texts_test_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::copy(models_ / "qwen2", folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const char* name, std::string_view text) const {
    std::ofstream(folder_ / name) << text;
  }
  Result<std::string> chat_template() const {
    return read_chat_template(open_model_files(folder_).value());
  }
  /// The status of loading the folder whole, as a command does.
  Status load() const {
    Result<ModelFiles> files = open_model_files(folder_);
    if (!files.ok()) return files.status();
    const Status tokenizer = make_tokenizer(files.value()).status();
    const Status model = Model::from_files(std::move(files).value()).status();
    return model.ok() ? tokenizer : model;
  }
  void expect_refusal(const std::vector<std::string>& words) const {
    const Status status = load();
    EXPECT_FALSE(status.ok());
    for (const std::string& word : words) {
      EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
    }
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }

  fs::path models_, folder_;
};

TEST_F(ModelTexts, TokenizersOfBothFormatsAgree) {
  for (const std::string name : {"llama", "mistral", "qwen2", "qwen3", "gemma3"}) {
    const auto folder = make_tokenizer(open_model_files(models_ / name).value()).value();
    const auto gguf = make_tokenizer(open_model_files(models_ / (name + ".gguf")).value()).value();
    EXPECT_EQ(folder.vocabulary_size(), 512) << name;
    EXPECT_EQ(gguf.vocabulary_size(), 512) << name;
    EncodeOptions encode;
    encode.begin = EncodeOptions::Begin::kModel;
    EXPECT_EQ(folder.encode("The old lighthouse, 1987.", encode).value(),
              gguf.encode("The old lighthouse, 1987.", encode).value())
        << name;
    // An id without a token can still be drawn, and says nothing.
    const std::int32_t last[] = {511};
    EXPECT_EQ(folder.decode(last).value(), "") << name;
  }
}

TEST_F(ModelTexts, ChatTemplatesComeFromTheirFileOrTheSettings) {
  EXPECT_EQ(chat_template().value(), "");
  write("tokenizer_config.json", R"({"chat_template": "one {{ x }}"})");
  EXPECT_EQ(chat_template().value(), "one {{ x }}");
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "no"},
                              {"name": "default", "template": "two"}]})");
  EXPECT_EQ(chat_template().value(), "two");
  write("chat_template.jinja", "three");
  EXPECT_EQ(chat_template().value(), "three");
  fs::remove(folder_ / "chat_template.jinja");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "no"}]})");
  EXPECT_NE(chat_template().status().message().find("default"), std::string::npos);
  write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_NE(chat_template().status().message().find("tokenizer_config.json"), std::string::npos);
}

TEST_F(ModelTexts, AFolderIsRefusedByWhatIsWrongWithIt) {
  EXPECT_TRUE(load().ok()) << load().message();
  const auto config = [&](const std::string& from, const std::string& to) {
    std::ifstream file(models_ / "qwen2" / "config.json");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    ASSERT_NE(text.find(from), std::string::npos);
    write("config.json", text.replace(text.find(from), from.size(), to));
  };
  config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  expect_refusal({"tensor model.layers.2.", "is missing"});
  config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
  expect_refusal({"model.layers.1.", "no place"});
  config("\"intermediate_size\": 128", "\"intermediate_size\": 160");
  expect_refusal({"mlp.gate_proj.weight is [128, 64]", "imply [160, 64]"});
  config("\"vocab_size\": 512", "\"vocab_size\": 513");
  expect_refusal({"embed_tokens.weight is [512, 64]", "imply [513, 64]"});
  config("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  expect_refusal({"lm_head.weight is missing"});
  config("\"model_type\": \"qwen2\"", "\"model_type\": \"mamba\"");
  expect_refusal({"config.json", "mamba"});
  config("\"model_type\": \"qwen2\"", "\"model_type\": \"qwen2\", \"attention_bias\": false");
  expect_refusal({"no bias", "blk.0.attn_q.bias"});
  config("{", "[");
  expect_refusal({"config.json", "JSON"});
  fs::remove(folder_ / "config.json");
  expect_refusal({"config.json"});
  config("{", "{");
  fs::remove(folder_ / "model.safetensors");
  expect_refusal({folder_.filename().string(), "model.safetensors"});
  fs::copy(models_ / "qwen2" / "model.safetensors", folder_);
  fs::remove(folder_ / "tokenizer.json");
  expect_refusal({"tokenizer.json"});
  EXPECT_NE(open_model_files(folder_ / "model.safetensors").status().message().find("folder"),
            std::string::npos);
}

}  // namespace
}  // namespace onebeat
