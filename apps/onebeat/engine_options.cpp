// SPDX-License-Identifier: Apache-2.0
#include "engine_options.h"

#include <map>

#include "base/error.h"
#include "engine/loading/model_texts.h"
#include "input.h"
#include "model/hub/model_cache.h"
#include "model/model.h"
#include "onebeat/thread_pool.h"

namespace onebeat::cli {
namespace {

Status check_device(const std::string& device) {
  if (device == "auto" || device == "cpu") return {};
  return make_error(StatusCode::kUnavailable,
                    "device {}: models run on the CPU only so far; use --device cpu", device);
}

EngineOptions engine_options(const ModelOptions& options) {
  EngineOptions chosen;
  chosen.threads = options.threads;
  chosen.context_tokens = options.context;
  chosen.batch_invariant = options.batch_invariant;
  chosen.max_requests = options.max_requests;
  chosen.reuse_prefixes = options.reuse_prefixes;
  chosen.prefill_chunk_beside_decode =
      options.prefill_chunk_beside_decode.value_or(chosen.prefill_chunk_beside_decode);
  chosen.compute = options.compute == "f32" ? ComputeMode::kF32 : ComputeMode::kAuto;
  if (options.kv_type == "f32") chosen.kv_type = KvType::kF32;
  if (options.kv_type == "f16") chosen.kv_type = KvType::kF16;
  if (options.kv_type == "bf16") chosen.kv_type = KvType::kBF16;
  for (const CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (options.isa == to_string(isa)) chosen.isa = isa;
  }
  return chosen;
}

Result<std::string> template_source(const ModelFiles& files, const std::string& template_file) {
  if (!template_file.empty()) return read_input(template_file);
  ONEBEAT_ASSIGN_OR_RETURN(std::string source, read_chat_template(files));
  if (source.empty()) {
    return unsupported(
        "{} has no chat template; give one with --chat-template, or use `onebeat generate` without "
        "--chat",
        name_of(files));
  }
  return source;
}

}  // namespace

void add_model_options(CLI::App* command, ModelOptions& options) {
  command
      ->add_option("-m,--model", options.model,
                   "A .gguf file, a folder with safetensors, or a name that `onebeat pull` knows")
      ->required();
  command->add_option("--device", options.device, "auto or cpu")->capture_default_str();
  command
      ->add_option("--compute", options.compute, "auto: the fastest; f32: exact to fp32 rounding")
      ->check(CLI::IsMember({"auto", "f32"}))
      ->capture_default_str();
  command
      ->add_option("--kv-type", options.kv_type,
                   "Numbers in the KV cache; auto: f16, or f32 with --compute f32")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}))
      ->capture_default_str();
  command
      ->add_option("--isa", options.isa,
                   "Instruction set of the matrix products; auto: the best there is")
      ->check(CLI::IsMember({"auto", "portable", "avx2", "avx512vnni", "amx"}))
      ->capture_default_str();
  command
      ->add_option("--threads", options.threads,
                   "Threads that compute; without it one for each processor")
      ->check(CLI::Range(1, ThreadPool::kMaxThreads));
  command->add_option("--context", options.context,
                      "Most tokens of prompt and reply; without it the model's own, at most 8192");
  command->add_flag(
      "--batch-invariant", options.batch_invariant,
      "A reply's bits do not depend on what the cache holds either; prompts are slower on "
      "processors with AMX");
}

Result<std::unique_ptr<Engine>> load_engine(const ModelOptions& options) {
  ONEBEAT_RETURN_IF_ERROR(check_device(options.device));
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model(options.model));
  return Engine::load(path, engine_options(options));
}

const ModelFiles& LoadedModel::files() const {
  return engine->model().files();
}

Result<LoadedModel> load_model(const ModelOptions& options) {
  LoadedModel loaded;
  ONEBEAT_ASSIGN_OR_RETURN(loaded.engine, load_engine(options));
  ONEBEAT_ASSIGN_OR_RETURN(Tokenizer tokenizer, make_tokenizer(loaded.files()));
  loaded.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  if (loaded.tokenizer->vocabulary_size() > loaded.engine->facts().vocabulary) {
    return data_loss("{}: the tokenizer has {} tokens, the embedding table {} rows",
                     name_of(loaded.files()), loaded.tokenizer->vocabulary_size(),
                     loaded.engine->facts().vocabulary);
  }
  return loaded;
}

Result<ChatPrompt> make_chat_prompt(const LoadedModel& model, const std::string& template_file) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::string source, template_source(model.files(), template_file));
  return ChatPrompt::make(source, *model.tokenizer);
}

}  // namespace onebeat::cli
