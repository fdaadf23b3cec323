// SPDX-License-Identifier: Apache-2.0
// What a model file may not say.
#include "model/model.h"

#include <gtest/gtest.h>

#include "model/tiny_model_for_test.h"

namespace onebeat {
namespace {

using testing::GgufWriter;
using testing::TensorToWrite;
using testing::TinyModel;

/// Loads the model as it would be written; the bytes live as long as the fixture.
class ModelTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Model>> load(TinyModel& tiny) {
    bytes_ = tiny.writer().finish();
    ONEBEAT_ASSIGN_OR_RETURN(GgufFile file, GgufFile::parse(bytes_, "tiny.gguf"));
    return Model::from_gguf(std::move(file));
  }

  void expect_refusal(TinyModel& tiny, StatusCode code, const std::vector<std::string>& words) {
    const Status status = load(tiny).status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_EQ(status.message().rfind("tiny.gguf", 0), 0u) << status.message();
    for (const std::string& word : words)
      EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
  }

  std::vector<std::byte> bytes_;
};

TEST_F(ModelTest, ReadsWhatTheFileSays) {
  TinyModel tiny;
  const auto model = load(tiny).value();
  const ModelConfig& config = model->config();
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.width, 32);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocabulary, 40);
  EXPECT_EQ(config.classes[0].rope.rotary_dims, 8);
  EXPECT_EQ(config.classes[0].rope.freq_base, 10000.0);
  EXPECT_EQ(config.classes[0].rope.freq_factors.size(), 4u);
  EXPECT_EQ(kv_bytes_per_token(config, KvType::kF16), 2 * 2 * (8 + 8) * 2);
  // All tensors once, but of the embedding one row.
  std::int64_t bytes = 0;
  for (const auto& [name, values] : tiny.tensors) {
    if (name != "rope_freqs.weight") bytes += static_cast<std::int64_t>(values.size()) * 4;
  }
  EXPECT_EQ(model->family().bytes_per_pass(), bytes - 39 * 32 * 4);
}

TEST_F(ModelTest, NamesAnArchitectureThatIsNotImplemented) {
  TinyModel tiny;
  tiny.architecture = "mamba";
  expect_refusal(tiny, StatusCode::kUnsupported, {"mamba", "llama"});
}

TEST_F(ModelTest, NamesFeaturesThatAreNotImplemented) {
  TinyModel mixture;
  mixture.metadata = [](GgufWriter& file) { file.add("llama.expert_count", std::uint32_t{8}); };
  expect_refusal(mixture, StatusCode::kUnsupported, {"llama.expert_count", "8", "experts"});
  TinyModel capped;
  capped.metadata = [](GgufWriter& file) { file.add("llama.final_logit_softcapping", 30.0f); };
  expect_refusal(capped, StatusCode::kUnsupported, {"final_logit_softcapping", "30", "soft caps"});
  TinyModel tiny;
  tiny.metadata = [](GgufWriter& file) { file.add("llama.rope.scaling.type", "yarn"); };
  expect_refusal(tiny, StatusCode::kUnsupported, {"llama.rope.scaling.type", "yarn"});
}

TEST_F(ModelTest, WindowsOfALlamaAreThoseOfAllLayersOrOfThoseNamed) {
  TinyModel tiny;
  tiny.metadata = [](GgufWriter& file) {
    file.add("llama.attention.sliding_window", std::uint32_t{7});
  };
  const auto all = load(tiny).value();
  ASSERT_EQ(all->config().classes.size(), 1u);
  EXPECT_EQ(all->config().classes[0].window_left, 6);
  TinyModel mixed;
  mixed.layers = 4;
  mixed.metadata = [](GgufWriter& file) {
    file.add("llama.attention.sliding_window", std::uint32_t{7});
    file.add("llama.attention.sliding_window_pattern", std::uint32_t{2});
  };
  const auto second = load(mixed).value();
  ASSERT_EQ(second->config().classes.size(), 2u);
  EXPECT_EQ(second->config().class_of_layer, (std::vector<std::int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(second->config().classes[0].window_left, 6);
  EXPECT_EQ(second->config().classes[1].window_left, -1);
}

TEST_F(ModelTest, NamesATensorThatTheFamilyDoesNotKnow) {
  TinyModel tiny;
  GgufWriter file = tiny.writer();
  file.add_tensor({"blk.1.attn_q_norm.weight", GgmlType::kF32, {8}, std::vector<std::byte>(32)});
  bytes_ = file.finish();
  const Status status = Model::from_gguf(GgufFile::parse(bytes_, "tiny.gguf").value()).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("tiny.gguf: the tensor blk.1.attn_q_norm.weight"),
            std::string::npos)
      << status.message();
}

TEST_F(ModelTest, RefusesSizesThatDoNotFit) {
  const auto refuse = [&](const std::function<void(TinyModel&)>& change, StatusCode code,
                          const std::vector<std::string>& words) {
    TinyModel tiny;
    change(tiny);
    expect_refusal(tiny, code, words);
  };
  refuse([](TinyModel& t) { t.kv_heads = 3; }, StatusCode::kInvalidArgument,
         {"4 query heads", "3 KV heads"});
  refuse([](TinyModel& t) { t.heads = 5, t.kv_heads = 5; }, StatusCode::kInvalidArgument,
         {"32", "5 heads"});
  refuse([](TinyModel& t) { t.layers = 0; }, StatusCode::kInvalidArgument, {"block_count is 0"});
  refuse([](TinyModel& t) { t.context = 0; }, StatusCode::kInvalidArgument,
         {"context_length is 0"});
  refuse([](TinyModel& t) { t.heads = 8, t.kv_heads = 8, t.head_dim = 4; },
         StatusCode::kInvalidArgument, {"head_dim"});
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::uint32_t>>{{"llama.rope.dimension_count", 7},
                                                          {"llama.rope.dimension_count", 10},
                                                          {"llama.rope.dimension_count", 0}}) {
    refuse([&](TinyModel& t) { t.metadata = [&](GgufWriter& file) { file.add(key, value); }; },
           StatusCode::kInvalidArgument, {key, std::to_string(value)});
  }
  refuse(
      [](TinyModel& t) {
        t.metadata = [](GgufWriter& f) { f.add("llama.vocab_size", std::uint32_t{41}); };
      },
      StatusCode::kDataLoss, {"vocab_size is 41", "40 rows"});
  refuse(
      [](TinyModel& t) { t.metadata = [](GgufWriter& f) { f.add("llama.rope.freq_base", 0.0f); }; },
      StatusCode::kInvalidArgument, {"freq_base is 0"});
}

TEST_F(ModelTest, NamesEveryTensorThatIsMissing) {
  TinyModel whole;
  (void)whole.writer();
  for (const auto& [name, values] : whole.tensors) {
    if (name == "output.weight" || name == "rope_freqs.weight") continue;
    TinyModel tiny;
    tiny.change = [&, missing = name](TensorToWrite& tensor) { return tensor.name != missing; };
    expect_refusal(tiny, StatusCode::kDataLoss, {name, "missing"});
  }
}

TEST_F(ModelTest, NamesEveryTensorOfAnotherShape) {
  TinyModel whole;
  (void)whole.writer();
  for (const auto& [name, values] : whole.tensors) {
    TinyModel tiny;
    tiny.change = [&, other = name](TensorToWrite& tensor) {
      if (tensor.name == other) {
        tensor.shape[0] /= 2;
        tensor.bytes.resize(tensor.bytes.size() / 2);
      }
      return true;
    };
    expect_refusal(tiny, StatusCode::kDataLoss, {name, "metadata imply"});
  }
}

TEST_F(ModelTest, RefusesFrequenciesThatDivideByNothing) {
  TinyModel tiny;
  tiny.change = [](TensorToWrite& tensor) {
    if (tensor.name == "rope_freqs.weight")
      std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0});
    return true;
  };
  expect_refusal(tiny, StatusCode::kDataLoss, {"rope_freqs.weight"});
}

}  // namespace
}  // namespace onebeat
