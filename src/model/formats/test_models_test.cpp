// SPDX-License-Identifier: Apache-2.0
// The tiny models of tools/make_test_models.py: what the Hugging Face folder says and what the GGUF
// file of the same model says must agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "model/formats/gguf.h"
#include "model/formats/hf_config.h"
#include "model/formats/safetensors.h"

namespace onebeat {
namespace {

class TestModels : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("ONEBEAT_TEST_MODELS");
    if (folder == nullptr) GTEST_SKIP() << "ONEBEAT_TEST_MODELS names no folder; CTest sets it";
    folder_ = std::filesystem::path(folder) / GetParam();
    gguf_path_ = std::filesystem::path(folder) / (GetParam() + ".gguf");
  }
  std::filesystem::path folder_;
  std::filesystem::path gguf_path_;
};

TEST_P(TestModels, ConfigurationsAgree) {
  const auto config = read_hf_config(folder_);
  ASSERT_TRUE(config.ok()) << to_string(config.status());
  const auto gguf = GgufFile::open(gguf_path_);
  ASSERT_TRUE(gguf.ok()) << to_string(gguf.status());
  const std::string architecture(gguf_architecture(config->family));
  EXPECT_EQ(gguf->required<std::string_view>("general.architecture").value(), architecture);
  const auto number = [&](const std::string& key) {
    return gguf->required<std::int32_t>(architecture + "." + key).value();
  };
  EXPECT_EQ(config->num_layers, number("block_count"));
  EXPECT_EQ(config->width, number("embedding_length"));
  EXPECT_EQ(config->feed_forward, number("feed_forward_length"));
  EXPECT_EQ(config->num_heads, number("attention.head_count"));
  EXPECT_EQ(config->num_kv_heads, number("attention.head_count_kv"));
  EXPECT_EQ(config->head_dim, number("attention.key_length"));
  EXPECT_EQ(config->context_tokens, number("context_length"));
  EXPECT_EQ(config->vocabulary, number("vocab_size"));
  EXPECT_EQ(static_cast<float>(config->rope_theta),
            gguf->required<float>(architecture + ".rope.freq_base").value());
  EXPECT_EQ(config->window.has_value(),
            gguf->find(architecture + ".attention.sliding_window") != nullptr);
  EXPECT_EQ(config->tied_embeddings, gguf->find_tensor("output.weight") == nullptr);
  EXPECT_EQ(config->qk_norm, gguf->find_tensor("blk.0.attn_q_norm.weight") != nullptr);
  EXPECT_EQ(config->attention_bias, gguf->find_tensor("blk.0.attn_q.bias") != nullptr);
  EXPECT_EQ(config->rope_scaling.kind == HfRopeScaling::Kind::kLlama3,
            gguf->find_tensor("rope_freqs.weight") != nullptr);
  EXPECT_EQ(config->bos.has_value(), gguf->find("tokenizer.ggml.bos_token_id") != nullptr);
  ASSERT_FALSE(config->end_tokens.empty());
  EXPECT_EQ(config->end_tokens[0],
            gguf->required<std::int32_t>("tokenizer.ggml.eos_token_id").value());
}

TEST_P(TestModels, WeightsAgree) {
  const auto model = SafetensorsModel::open(folder_);
  ASSERT_TRUE(model.ok()) << to_string(model.status());
  const auto gguf = GgufFile::open(gguf_path_);
  ASSERT_TRUE(gguf.ok()) << to_string(gguf.status());
  EXPECT_EQ(model->files().size(), GetParam() == "llama" ? 2U : 1U);
  const std::size_t factors = gguf->find_tensor("rope_freqs.weight") != nullptr ? 1 : 0;
  EXPECT_EQ(model->tensors().size() + factors, gguf->tensors().size());
  // These lie in the same order in both.
  for (const auto& [hf, ggml] :
       {std::pair("model.embed_tokens.weight", "token_embd.weight"),
        std::pair("model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight"),
        std::pair("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight")}) {
    const SafetensorsTensor* ours = model->find_tensor(hf);
    const GgufTensor* theirs = gguf->find_tensor(ggml);
    ASSERT_TRUE(ours != nullptr && theirs != nullptr) << hf;
    EXPECT_EQ(ours->shape, (std::vector{theirs->shape[1], theirs->shape[0]})) << hf;
    EXPECT_TRUE(std::ranges::equal(ours->bytes, theirs->bytes)) << hf;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TestModels,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma3"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace onebeat
