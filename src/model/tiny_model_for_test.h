// SPDX-License-Identifier: Apache-2.0
// A small model of the `llama` family with random weights, as a file and as numbers. For tests
// only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "model/formats/gguf_test_writer.h"

namespace onebeat::testing {

struct TinyModel {
  std::int32_t layers = 2, width = 32, heads = 4, kv_heads = 2, head_dim = 8, feed_forward = 48,
               vocabulary = 40;
  std::int32_t context = 512;
  std::string architecture = "llama";
  bool tied = false;    ///< No output.weight.
  bool biases = false;  ///< On query, key and value.
  std::map<std::string, std::vector<float>>
      tensors;  ///< What was written: rows one after the other.
  /// Changes a tensor before it is written; returning false leaves it out.
  std::function<bool(TensorToWrite&)> change = [](TensorToWrite&) { return true; };
  /// More or other metadata.
  std::function<void(GgufWriter&)> metadata = [](GgufWriter&) {};

  GgufWriter writer() {
    GgufWriter file;
    const auto count = [&](const char* key, std::int32_t value) {
      file.add(architecture + "." + key, static_cast<std::uint32_t>(value));
    };
    file.add("general.architecture", architecture);
    count("block_count", layers);
    count("embedding_length", width);
    count("feed_forward_length", feed_forward);
    count("context_length", context);
    count("attention.head_count", heads);
    count("attention.head_count_kv", kv_heads);
    file.add(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
    metadata(file);
    matrix(file, "token_embd.weight", vocabulary, width);
    vector(file, "output_norm.weight", width);
    if (!tied) matrix(file, "output.weight", vocabulary, width);
    vector(file, "rope_freqs.weight", head_dim / 2);
    for (std::int32_t i = 0; i < layers; ++i) layer(file, "blk." + std::to_string(i) + ".");
    return file;
  }

 private:
  void layer(GgufWriter& file, const std::string& prefix) {
    vector(file, prefix + "attn_norm.weight", width);
    matrix(file, prefix + "attn_q.weight", heads * head_dim, width);
    matrix(file, prefix + "attn_k.weight", kv_heads * head_dim, width);
    matrix(file, prefix + "attn_v.weight", kv_heads * head_dim, width);
    if (biases) {
      vector(file, prefix + "attn_q.bias", heads * head_dim);
      vector(file, prefix + "attn_k.bias", kv_heads * head_dim);
      vector(file, prefix + "attn_v.bias", kv_heads * head_dim);
    }
    matrix(file, prefix + "attn_output.weight", width, heads * head_dim);
    vector(file, prefix + "ffn_norm.weight", width);
    matrix(file, prefix + "ffn_gate.weight", feed_forward, width);
    matrix(file, prefix + "ffn_up.weight", feed_forward, width);
    matrix(file, prefix + "ffn_down.weight", width, feed_forward);
  }

  void matrix(GgufWriter& file, const std::string& name, std::int32_t rows, std::int32_t cols) {
    add(file, name, {static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows)}, 0.0f,
        0.35f);
  }
  /// Norms, biases and divisors of frequencies: around 1.
  void vector(GgufWriter& file, const std::string& name, std::int32_t elements) {
    add(file, name, {static_cast<std::uint64_t>(elements)}, 1.0f, 0.15f);
  }

  void add(GgufWriter& file, const std::string& name, std::vector<std::uint64_t> shape, float mean,
           float spread) {
    std::size_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;
    std::normal_distribution<float> normal(mean, spread);
    std::vector<float>& values = tensors[name];
    values.resize(elements);
    for (float& value : values) value = normal(random_);
    std::vector<std::byte> bytes(elements * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    TensorToWrite tensor = {name, GgmlType::kF32, std::move(shape), std::move(bytes)};
    if (change(tensor)) file.add_tensor(std::move(tensor));
  }

  std::mt19937 random_{2024};
};

}  // namespace onebeat::testing
