// SPDX-License-Identifier: Apache-2.0
// Model: the files of a model with its weights as views, and the function that computes it with a
// device's LayerOps.
#pragma once

#include <filesystem>
#include <memory>

#include "model/config.h"
#include "model/formats/model_files.h"
#include "model/layer_ops.h"
#include "ops/weight_packer.h"

namespace onebeat {

/// The weights of one family and how they are applied. Immutable, hence safe to share between
/// threads.
class ModelFamily {
 public:
  virtual ~ModelFamily() = default;
  /// One forward pass over the rows of the step that `ops` was given: from token ids to kLogits.
  [[nodiscard]] virtual Status forward(LayerOps& ops) const = 0;
  /// Bytes of weights that a pass over one token reads.
  [[nodiscard]] std::int64_t bytes_per_pass() const { return bytes_per_pass_; }

 private:
  friend class Model;
  std::int64_t bytes_per_pass_ = 0;
};

class TensorSource;

/// A loaded model; the weights stay in the files' mappings, or are repacked for the machine.
class Model {
 public:
  /// Maps, reads and checks a GGUF file, or a folder with config.json and safetensors weights.
  /// Errors: those of open_model_files() and of the configuration; kUnsupported naming a tensor and
  /// its quantisation, or one that the family does not know; kDataLoss naming a tensor that is
  /// missing or has another shape than the metadata says.
  /// With a packer the weights are repacked while they are read, and their files' pages given back.
  [[nodiscard]] static Result<std::unique_ptr<Model>> load(
      const std::filesystem::path& path, std::unique_ptr<WeightPacker> packer = nullptr);
  /// The same for files that are open already.
  [[nodiscard]] static Result<std::unique_ptr<Model>> from_files(
      ModelFiles files, std::unique_ptr<WeightPacker> packer = nullptr);
  [[nodiscard]] static Result<std::unique_ptr<Model>> from_gguf(GgufFile file) {
    return from_files(std::move(file));
  }

  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const ModelFamily& family() const { return *family_; }
  /// What is behind the weights, for the tokenizer and the chat template in it.
  [[nodiscard]] const ModelFiles& files() const { return files_; }

 private:
  explicit Model(ModelFiles files) : files_(std::move(files)) {}
  [[nodiscard]] Status read_gguf(const GgufFile& file);
  [[nodiscard]] Status read_folder(const HfFolder& folder);
  [[nodiscard]] Status read_weights(TensorSource& tensors);
  void set_rope_factors(std::vector<float> factors);

  ModelFiles files_;
  std::unique_ptr<WeightPacker> packer_;  // Owns repacked weights; may be null.
  ModelConfig config_;
  std::vector<float> rope_factors_;
  std::unique_ptr<ModelFamily> family_;
};

}  // namespace onebeat
