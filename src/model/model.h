// SPDX-License-Identifier: Apache-2.0
// Model: a model file with its weights as views, and the function that computes it with a device's
// LayerOps.
#pragma once

#include <filesystem>
#include <memory>

#include "model/config.h"
#include "model/formats/gguf.h"
#include "model/layer_ops.h"

namespace onebeat {

/// The weights of one family and how they are applied. Immutable, hence safe to share between
/// threads.
class ModelFamily {
 public:
  virtual ~ModelFamily() = default;
  /// One forward pass over the rows of the step that `ops` was given: from token ids to kLogits.
  [[nodiscard]] virtual Status forward(LayerOps& ops) const = 0;
  /// Bytes of weights that a pass over one token reads.
  [[nodiscard]] virtual std::int64_t bytes_per_pass() const = 0;
};

/// A loaded model; the weights stay in the file's mapping.
class Model {
 public:
  /// Maps, reads and checks a GGUF file. Errors: those of GgufFile::open and read_config;
  /// kUnsupported naming a tensor and its quantisation; kDataLoss naming a tensor that is missing
  /// or has another shape than the metadata says.
  [[nodiscard]] static Result<std::unique_ptr<Model>> load(const std::filesystem::path& path);
  /// The same for a file that is open already.
  [[nodiscard]] static Result<std::unique_ptr<Model>> from_gguf(GgufFile file);

  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const ModelFamily& family() const { return *family_; }
  /// The file behind the weights, for the tokenizer and the chat template in it.
  [[nodiscard]] const GgufFile& file() const { return file_; }

 private:
  explicit Model(GgufFile file) : file_(std::move(file)) {}

  GgufFile file_;
  ModelConfig config_;
  std::vector<float> rope_factors_;
  std::unique_ptr<ModelFamily> family_;
};

}  // namespace onebeat
