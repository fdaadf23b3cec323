// SPDX-License-Identifier: Apache-2.0
// Configurations as the families publish them, then every value bent.
#include "model/formats/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

namespace onebeat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Members = std::map<std::string, std::string>;

/// An object of these members; an empty value leaves one out.
std::string object(const Members& members) {
  std::string text = "{";
  for (const auto& [name, value] : members) {
    if (value.empty()) continue;
    if (text.size() > 1) text += ", ";
    text += '"';
    text += name;
    text += "\": ";
    text += value;
  }
  return text + "}";
}

Members llama32() {
  return {{"architectures", R"(["LlamaForCausalLM"])"},
          {"model_type", "\"llama\""},
          {"attention_bias", "false"},
          {"bos_token_id", "128000"},
          {"eos_token_id", "[128001, 128008, 128009]"},
          {"head_dim", "64"},
          {"hidden_act", "\"silu\""},
          {"hidden_size", "2048"},
          {"intermediate_size", "8192"},
          {"max_position_embeddings", "131072"},
          {"mlp_bias", "false"},
          {"num_attention_heads", "32"},
          {"num_hidden_layers", "16"},
          {"num_key_value_heads", "8"},
          {"rms_norm_eps", "1e-05"},
          {"rope_scaling",
           R"({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
               "original_max_position_embeddings": 8192, "rope_type": "llama3"})"},
          {"rope_theta", "500000.0"},
          {"tie_word_embeddings", "true"},
          {"torch_dtype", "\"bfloat16\""},
          {"vocab_size", "128256"}};
}

Members with(Members members, const Members& changes) {
  for (const auto& [name, value] : changes) members[name] = value;
  return members;
}

HfConfig good(const Members& members) {
  auto config = parse_hf_config(object(members), "config.json");
  EXPECT_TRUE(config.ok()) << to_string(config.status());
  return config.ok() ? *config : HfConfig{};
}

void expect_refused(const Members& members, StatusCode code, const std::string& says) {
  const Status status = parse_hf_config(object(members), "config.json").status();
  EXPECT_EQ(status.code(), code) << to_string(status);
  EXPECT_THAT(status.message(), AllOf(StartsWith("config.json: "), HasSubstr(says)));
}

TEST(HfConfig, ReadsLlama3) {
  const HfConfig config = good(llama32());
  EXPECT_EQ(config.family, HfFamily::kLlama);
  EXPECT_EQ(gguf_architecture(config.family), "llama");
  EXPECT_EQ(config.num_layers, 16);
  EXPECT_EQ(config.width, 2048);
  EXPECT_EQ(config.feed_forward, 8192);
  EXPECT_EQ(config.num_heads, 32);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocabulary, 128256);
  EXPECT_EQ(config.context_tokens, 131072);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(config.rope_theta, 500000.0);
  EXPECT_EQ(config.rope_scaling.kind, HfRopeScaling::Kind::kLlama3);
  EXPECT_EQ(config.rope_scaling.factor, 32.0);
  EXPECT_EQ(config.rope_scaling.low_freq_factor, 1.0);
  EXPECT_EQ(config.rope_scaling.high_freq_factor, 4.0);
  EXPECT_EQ(config.rope_scaling.original_context_tokens, 8192);
  EXPECT_EQ(config.score_scale, 0.125);
  EXPECT_FALSE(config.window.has_value());
  EXPECT_EQ(config.layer_has_window, std::vector<bool>(16, false));
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.qk_norm || config.attention_bias || config.gelu || config.norm_adds_one);
  EXPECT_EQ(config.embedding_scale, 1.0);
  EXPECT_EQ(config.bos, 128000);
  EXPECT_THAT(config.end_tokens, ElementsAre(128001, 128008, 128009));
}

TEST(HfConfig, LeavesOutHaveTheFamiliesDefaults) {
  const HfConfig config = good(with(llama32(), {{"num_key_value_heads", ""},
                                                {"head_dim", "null"},
                                                {"rope_scaling", "null"},
                                                {"rope_theta", ""},
                                                {"tie_word_embeddings", ""},
                                                {"bos_token_id", ""},
                                                {"eos_token_id", "2"}}));
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.rope_scaling.kind, HfRopeScaling::Kind::kNone);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_FALSE(config.bos.has_value());
  EXPECT_THAT(config.end_tokens, ElementsAre(2));
}

TEST(HfConfig, ReadsRopeParametersOfNewerFiles) {
  const HfConfig config = good(with(
      llama32(),
      {{"rope_scaling", ""},
       {"rope_theta", ""},
       {"rope_parameters", R"({"rope_theta": 250000.0, "rope_type": "linear", "factor": 2.0})"}}));
  EXPECT_EQ(config.rope_theta, 250000.0);
  EXPECT_EQ(config.rope_local_theta, 250000.0);
  EXPECT_EQ(config.rope_scaling.kind, HfRopeScaling::Kind::kLinear);
  EXPECT_EQ(config.rope_scaling.factor, 2.0);
}

TEST(HfConfig, ReadsMistral) {
  const Members mistral = with(llama32(), {{"model_type", "\"mistral\""},
                                           {"rope_scaling", ""},
                                           {"hidden_size", "5120"},
                                           {"head_dim", "128"},
                                           {"sliding_window", "4096"}});
  const HfConfig windowed = good(mistral);
  EXPECT_EQ(windowed.family, HfFamily::kMistral);
  EXPECT_EQ(gguf_architecture(windowed.family), "llama");
  EXPECT_EQ(windowed.head_dim, 128);  // 5120 / 32 is 160.
  EXPECT_EQ(windowed.window, 4096);
  EXPECT_EQ(windowed.layer_has_window, std::vector<bool>(16, true));
  const HfConfig full = good(with(mistral, {{"sliding_window", "null"}}));
  EXPECT_FALSE(full.window.has_value());
  EXPECT_EQ(full.layer_has_window, std::vector<bool>(16, false));
}

Members qwen(const std::string& type) {
  return {{"model_type", type},
          {"hidden_act", "\"silu\""},
          {"hidden_size", "896"},
          {"intermediate_size", "4864"},
          {"max_position_embeddings", "32768"},
          {"max_window_layers", "3"},
          {"num_attention_heads", "14"},
          {"num_hidden_layers", "5"},
          {"num_key_value_heads", "2"},
          {"rms_norm_eps", "1e-06"},
          {"rope_theta", "1000000.0"},
          {"sliding_window", "32768"},
          {"tie_word_embeddings", "true"},
          {"use_sliding_window", "false"},
          {"bos_token_id", "151643"},
          {"eos_token_id", "151645"},
          {"vocab_size", "151936"}};
}

TEST(HfConfig, ReadsQwen2) {
  const HfConfig config = good(qwen("\"qwen2\""));
  EXPECT_EQ(config.family, HfFamily::kQwen2);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_FALSE(config.attention_output_bias);
  EXPECT_FALSE(config.qk_norm);
  EXPECT_FALSE(config.window.has_value());
  const HfConfig windowed = good(with(qwen("\"qwen2\""), {{"use_sliding_window", "true"}}));
  EXPECT_EQ(windowed.window, 32768);
  EXPECT_EQ(windowed.layer_has_window, (std::vector<bool>{false, false, false, true, true}));
}

TEST(HfConfig, ReadsQwen3) {
  const HfConfig config = good(with(qwen("\"qwen3\""), {{"attention_bias", "true"}}));
  EXPECT_EQ(config.family, HfFamily::kQwen3);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_TRUE(config.qk_norm);
  EXPECT_TRUE(config.attention_output_bias);
  EXPECT_FALSE(config.norm_adds_one);
}

Members gemma270m() {
  return {{"model_type", "\"gemma3_text\""},
          {"_sliding_window_pattern", "6"},
          {"attention_bias", "false"},
          {"attn_logit_softcapping", "null"},
          {"bos_token_id", "2"},
          {"eos_token_id", "[1, 106]"},
          {"final_logit_softcapping", "null"},
          {"head_dim", "256"},
          {"hidden_activation", "\"gelu_pytorch_tanh\""},
          {"hidden_size", "640"},
          {"intermediate_size", "2048"},
          {"max_position_embeddings", "32768"},
          {"num_attention_heads", "4"},
          {"num_hidden_layers", "18"},
          {"num_key_value_heads", "1"},
          {"query_pre_attn_scalar", "256"},
          {"rms_norm_eps", "1e-06"},
          {"rope_local_base_freq", "10000.0"},
          {"rope_scaling", "null"},
          {"rope_theta", "1000000.0"},
          {"sliding_window", "512"},
          {"vocab_size", "262144"}};
}

TEST(HfConfig, ReadsGemma3) {
  const HfConfig config = good(gemma270m());
  EXPECT_EQ(config.family, HfFamily::kGemma3);
  EXPECT_EQ(config.score_scale, 1.0 / 16);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_EQ(config.rope_local_theta, 1e4);
  EXPECT_EQ(config.window, 512);
  for (std::size_t i = 0; i < 18; ++i) {
    EXPECT_EQ(config.layer_has_window[i], i != 5 && i != 11 && i != 17) << i;
  }
  EXPECT_TRUE(config.qk_norm && config.norm_adds_one && config.gelu && config.tied_embeddings);
  EXPECT_EQ(config.embedding_scale, std::sqrt(640.0));
  EXPECT_EQ(config.attention_soft_cap, 0.0);
  const HfConfig capped = good(with(gemma270m(), {{"attn_logit_softcapping", "50.0"},
                                                  {"final_logit_softcapping", "30.0"},
                                                  {"query_pre_attn_scalar", "168"}}));
  EXPECT_EQ(capped.attention_soft_cap, 50.0);
  EXPECT_EQ(capped.logit_soft_cap, 30.0);
  EXPECT_EQ(capped.score_scale, 1.0 / std::sqrt(168.0));
}

TEST(HfConfig, ReadsTheTextModelInsideALargerGemma3) {
  const HfConfig config =
      good({{"model_type", "\"gemma3\""},
            {"eos_token_id", "[1, 106]"},
            {"vision_config", R"({"hidden_size": 1152, "model_type": "siglip_vision_model"})"},
            {"text_config",
             R"({"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024})"}});
  EXPECT_EQ(config.width, 2560);
  EXPECT_EQ(config.num_layers, 34);
  EXPECT_EQ(config.num_heads, 8);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 256);
  EXPECT_EQ(config.vocabulary, 262208);
  EXPECT_EQ(config.rope_scaling.kind, HfRopeScaling::Kind::kLinear);
  EXPECT_EQ(config.rope_scaling.factor, 8.0);
  EXPECT_THAT(config.end_tokens, ElementsAre(1, 106));
}

TEST(HfConfig, LayerTypesWinOverPatterns) {
  Members members = with(gemma270m(), {{"num_hidden_layers", "3"}});
  members["layer_types"] = R"(["full_attention", "sliding_attention", "full_attention"])";
  members["rope_parameters"] =
      R"({"full_attention": {"rope_theta": 2000000.0, "rope_type": "default"},
          "sliding_attention": {"rope_theta": 5000.0, "rope_type": "default"}})";
  const HfConfig config = good(members);
  EXPECT_EQ(config.layer_has_window, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(config.rope_theta, 2e6);
  EXPECT_EQ(config.rope_local_theta, 5e3);
  members["layer_types"] = R"(["full_attention", "full_attention", "full_attention"])";
  EXPECT_FALSE(good(members).window.has_value());
  members["layer_types"] = R"(["full_attention"])";
  expect_refused(members, StatusCode::kInvalidArgument, "an array of 3 names");
  members["layer_types"] = R"(["full_attention", "chunked_attention", "full_attention"])";
  expect_refused(members, StatusCode::kUnsupported, "layer 1 is \"chunked_attention\"");
  Members no_window = qwen("\"qwen3\"");
  no_window["num_hidden_layers"] = "1";
  no_window["layer_types"] = R"(["sliding_attention"])";
  expect_refused(no_window, StatusCode::kInvalidArgument, "no \"sliding_window\" in use");
}

TEST(HfConfig, NamesWhatIsNotImplemented) {
  const auto refused = [](const Members& changes, const std::string& says) {
    expect_refused(with(llama32(), changes), StatusCode::kUnsupported, says);
  };
  refused({{"model_type", "\"mixtral\""}}, "the model type \"mixtral\" is not implemented");
  refused({{"hidden_act", "\"relu\""}}, "\"hidden_act\" is \"relu\"");
  refused({{"rope_scaling", R"({"rope_type": "yarn", "factor": 4.0})"}}, "rope scaling \"yarn\"");
  refused({{"rope_scaling", R"({"type": "dynamic", "factor": 4.0})"}}, "rope scaling \"dynamic\"");
  refused({{"quantization_config", R"({"quant_method": "gptq"})"}}, "\"gptq\"");
  refused({{"partial_rotary_factor", "0.5"}}, "\"partial_rotary_factor\" is 0.5");
  expect_refused(with(gemma270m(), {{"use_bidirectional_attention", "true"}}),
                 StatusCode::kUnsupported, "use_bidirectional_attention");
}

TEST(HfConfig, ChecksEveryValue) {
  const auto refused = [](const std::string& member, const std::string& value,
                          const std::string& says, StatusCode code = StatusCode::kInvalidArgument) {
    expect_refused(with(llama32(), {{member, value}}), code, says);
  };
  for (const std::string member :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
        "vocab_size", "max_position_embeddings"}) {
    refused(member, "", "\"" + member + "\" is missing", StatusCode::kNotFound);
    refused(member, "0", "\"" + member + "\" is 0");
    refused(member, "-5", "\"" + member + "\" is -5");
    refused(member, "99999999999", "it is 99999999999; a 32-bit integer");
    refused(member, "1.5", "a 32-bit integer is needed");
    refused(member, "\"4\"", "it is a string");
  }
  refused("model_type", "", "\"model_type\" is missing", StatusCode::kNotFound);
  refused("model_type", "7", "it is an integer");
  refused("num_hidden_layers", "4097", "from 1 to 4096");
  refused("vocab_size", "16777217", "from 1 to 16777216");
  refused("num_key_value_heads", "5", "32 query heads cannot share 5 KV heads");
  refused("num_key_value_heads", "64", "32 query heads cannot share 64 KV heads");
  refused("head_dim", "63", "it must be even");
  refused("head_dim", "4194304", "elements in all");
  refused("rms_norm_eps", "-1e-5", "\"rms_norm_eps\" is -1e-05");
  refused("rms_norm_eps", "1.0", "below 1");
  refused("rope_theta", "0", "\"rope_theta\" is 0");
  refused("rope_theta", "-1.0", "must be above 0");
  refused("rope_scaling", R"({"rope_type": "linear"})", "rope_scaling: \"factor\" is missing",
          StatusCode::kNotFound);
  refused("rope_scaling", R"({"rope_type": "linear", "factor": 0.5})", "at least 1");
  refused("rope_scaling",
          R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
              "original_max_position_embeddings": 8192})",
          "the second above the first");
  refused("tie_word_embeddings", "1", "true or false is needed");
  refused("bos_token_id", "128256", "ids from 0 to 128255");
  refused("eos_token_id", "[1, -1]", "\"eos_token_id\" is -1");
  refused("eos_token_id", "[1, \"2\"]", "\"eos_token_id\": it is a string");
  expect_refused(with(llama32(), {{"head_dim", ""}, {"hidden_size", "2047"}}),
                 StatusCode::kInvalidArgument, "cannot be divided over 32 heads");
  expect_refused(with(gemma270m(), {{"sliding_window", "0"}}), StatusCode::kInvalidArgument,
                 "\"sliding_window\" is 0");
  expect_refused(with(gemma270m(), {{"attn_logit_softcapping", "-1"}}),
                 StatusCode::kInvalidArgument, "\"attn_logit_softcapping\" is -1");
  EXPECT_EQ(parse_hf_config("[]", "c").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(parse_hf_config("", "c").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(read_hf_config("/nonexistent").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace onebeat
