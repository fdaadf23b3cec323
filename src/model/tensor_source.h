// SPDX-License-Identifier: Apache-2.0
// TensorSource: the tensors of a model by name, whatever the format of its files, each checked
// against the shape that the configuration implies.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/formats/gguf.h"
#include "model/formats/hf_config.h"
#include "model/formats/safetensors.h"
#include "model/layer_ops.h"
#include "ops/weight_packer.h"

namespace onebeat {

/// Names are GGUF's, such as "blk.3.attn_q.weight". Weights are views of the files, or of
/// their repacked form; nothing but vectors is copied.
class TensorSource {
 public:
  TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;
  virtual ~TensorSource() = default;

  /// From here on matrix() and linear() give matrices that this packer made. Borrowed; may be null.
  void repack_with(WeightPacker* packer) { packer_ = packer; }

  [[nodiscard]] bool has(std::string_view name) const { return find(name).has_value(); }
  /// Errors: kDataLoss if there is no such tensor.
  [[nodiscard]] Status require(std::string_view name) const;
  /// Errors: kDataLoss if the tensor is missing or is no [rows, cols]; kUnsupported naming its
  /// quantisation.
  [[nodiscard]] Result<WeightView> matrix(std::string_view name, std::int64_t rows,
                                          std::int64_t cols);
  /// A matrix of which a pass reads only the rows of its tokens.
  [[nodiscard]] Result<WeightView> table(std::string_view name, std::int64_t rows,
                                         std::int64_t cols);
  /// A matrix of one row, expanded to fp32.
  [[nodiscard]] Result<std::vector<float>> vector(std::string_view name, std::int64_t elements);
  /// The gains of a norm: what the normalised numbers are multiplied with.
  [[nodiscard]] Result<std::vector<float>> norm(std::string_view name, std::int64_t elements);
  /// `stem`.weight, and `stem`.bias where the files have one.
  [[nodiscard]] Result<LinearWeight> linear(const std::string& stem, std::int64_t rows,
                                            std::int64_t cols);

  /// A table that is also applied as a matrix, as in a model with one matrix for both ends; what
  /// this gives serves for both.
  [[nodiscard]] Result<WeightView> table_as_matrix(const WeightView& table);
  /// Bytes of all weights asked for so far that a pass over one token reads.
  [[nodiscard]] std::int64_t bytes_per_pass() const { return bytes_per_pass_; }

  /// Errors: kUnsupported naming a tensor of the model that nobody asked for: a computation without
  /// it would be another model's.
  [[nodiscard]] Status check_all_used() const;

 protected:
  /// A tensor of the files.
  struct Found {
    std::string_view name;             ///< In the file, for messages.
    std::optional<WeightType> type;    ///< Nothing if products with it are not implemented.
    std::string_view type_name;        ///< As the format spells it.
    std::vector<std::uint64_t> shape;  ///< As the format orders it, for messages.
    bool fastest_first = false;        ///< That order.
    std::span<const std::byte> bytes;
  };

 private:
  [[nodiscard]] virtual std::optional<Found> find(std::string_view name) const = 0;
  [[nodiscard]] virtual std::string name_in_file(std::string_view name) const {
    return std::string(name);
  }
  /// What was opened; starts the messages.
  [[nodiscard]] virtual const std::string& opened() const = 0;
  /// Names in the files that belong to the model's layers and must have been used.
  [[nodiscard]] virtual std::vector<std::string_view> expected() const = 0;
  /// What norms add to the numbers of the file.
  [[nodiscard]] virtual float norm_offset() const { return 0.0f; }

  [[nodiscard]] Result<WeightView> checked(std::string_view name, std::int64_t rows,
                                           std::int64_t cols);

  std::set<std::string, std::less<>> used_;  // Names in the files.
  std::int64_t bytes_per_pass_ = 0;
  WeightPacker* packer_ = nullptr;
};

/// Borrows the file.
class GgufTensors final : public TensorSource {
 public:
  explicit GgufTensors(const GgufFile& file) : file_(file) {}

 private:
  std::optional<Found> find(std::string_view name) const override;
  const std::string& opened() const override { return file_.name(); }
  std::vector<std::string_view> expected() const override;

  const GgufFile& file_;
};

/// Borrows the weights.
class SafetensorsTensors final : public TensorSource {
 public:
  SafetensorsTensors(const SafetensorsModel& weights, const HfConfig& config);

 private:
  std::optional<Found> find(std::string_view name) const override;
  /// "model.layers.3.self_attn.q_proj.weight" for "blk.3.attn_q.weight".
  std::string name_in_file(std::string_view name) const override;
  const std::string& opened() const override { return weights_.name(); }
  std::vector<std::string_view> expected() const override;
  float norm_offset() const override { return norm_offset_; }

  const SafetensorsModel& weights_;
  HfFamily family_;
  float norm_offset_;
  std::string prefix_;  // Before "layers.": the text model may be a part of a larger one.
  std::string head_;    // Before "lm_head".
};

}  // namespace onebeat
