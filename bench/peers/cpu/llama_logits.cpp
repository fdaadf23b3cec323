// SPDX-License-Identifier: Apache-2.0
// llama_logits MODEL.gguf TOKENS OUT THREADS: what llama.cpp answers at every position of given
// tokens, in the files of `onebeat bench logits`. Built by install.sh.
#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "llama_logits: %s\n", message.c_str());
  std::exit(1);
}

struct Text {
  int prompt = 0;
  std::vector<llama_token> ids;
};

std::vector<Text> read_texts(const char* path) {
  std::ifstream file(path);
  if (!file) fail(std::string("cannot read ") + path);
  std::vector<Text> texts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line);
    Text text;
    numbers >> text.prompt;
    for (llama_token id = 0; numbers >> id;) text.ids.push_back(id);
    if (text.prompt < 1 || text.prompt > static_cast<int>(text.ids.size())) fail("a bad line");
    texts.push_back(text);
  }
  return texts;
}

void feed(llama_context* context, const Text& text, int begin, int end, int vocabulary,
          std::FILE* out) {
  llama_batch batch = llama_batch_init(end - begin, 0, 1);
  batch.n_tokens = end - begin;
  for (int i = begin; i < end; ++i) {
    batch.token[i - begin] = text.ids[static_cast<std::size_t>(i)];
    batch.pos[i - begin] = i;
    batch.n_seq_id[i - begin] = 1;
    batch.seq_id[i - begin][0] = 0;
    batch.logits[i - begin] = 1;
  }
  if (llama_decode(context, batch) != 0) fail("llama_decode failed");
  for (int i = begin; i < end; ++i) {
    const auto count = static_cast<std::size_t>(vocabulary);
    if (std::fwrite(llama_get_logits_ith(context, i - begin), sizeof(float), count, out) != count)
      fail("cannot write the logits");
  }
  llama_batch_free(batch);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("llama_logits MODEL.gguf TOKENS OUT THREADS");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const std::vector<Text> texts = read_texts(argv[2]);
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) fail(std::string("cannot load ") + argv[1]);
  std::size_t longest = 1;
  for (const Text& text : texts) longest = std::max(longest, text.ids.size());
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(longest + 64);
  params.n_batch = params.n_ubatch = params.n_ctx;
  params.n_threads = params.n_threads_batch = std::atoi(argv[4]);
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) fail("no context");
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::FILE* out = std::fopen(argv[3], "wb");
  if (out == nullptr) fail(std::string("cannot write ") + argv[3]);
  for (const Text& text : texts) {
    llama_memory_clear(llama_get_memory(context), true);
    feed(context, text, 0, text.prompt, vocabulary, out);
    for (int i = text.prompt; i < static_cast<int>(text.ids.size()); ++i) {
      feed(context, text, i, i + 1, vocabulary, out);
    }
  }
  if (std::fclose(out) != 0) fail("cannot write the logits");
  llama_free(context);
  llama_model_free(model);
}
