// SPDX-License-Identifier: Apache-2.0
// Options of every command that runs a model.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "engine/loading/chat_prompt.h"
#include "model/formats/model_files.h"
#include "onebeat/engine.h"
#include "text/tokenizer.h"

namespace onebeat::cli {

struct ModelOptions {
  std::string model;
  std::string device = "auto";
  std::string compute = "auto";
  std::string kv_type = "auto";
  std::string isa = "auto";
  std::optional<int> threads;
  std::optional<std::int64_t> context;
  bool batch_invariant = false;
  // Not options of the command line; the command sets them.
  std::int32_t max_requests = 1;
  bool reuse_prefixes = true;
  std::optional<std::int32_t> prefill_chunk_beside_decode;
};

/// Adds --model, --device, --compute, --kv-type, --isa, --threads, --context and
/// --batch-invariant.
void add_model_options(CLI::App* command, ModelOptions& options);

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Tokenizer> tokenizer;
  /// What both were made from.
  [[nodiscard]] const ModelFiles& files() const;
};

/// Loads the engine alone. Errors: those of resolve_model() and Engine::load(); kUnavailable for a
/// device that is not there.
[[nodiscard]] Result<std::unique_ptr<Engine>> load_engine(const ModelOptions& options);
/// Loads engine and tokenizer.
[[nodiscard]] Result<LoadedModel> load_model(const ModelOptions& options);

/// Conversations through the model's chat template, or through `template_file` instead of it. The
/// model must outlive it. Errors: those of read_chat_template() and ChatPrompt::make();
/// kUnsupported for a model without a chat template.
[[nodiscard]] Result<ChatPrompt> make_chat_prompt(const LoadedModel& model,
                                                  const std::string& template_file = {});

}  // namespace onebeat::cli
