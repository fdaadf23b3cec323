// SPDX-License-Identifier: Apache-2.0
// onebeat tokenize and onebeat detokenize: text to token ids, and back.
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "engine/loading/model_texts.h"
#include "id_list.h"
#include "input.h"
#include "model/hub/model_cache.h"
#include "output.h"

namespace onebeat::cli {
namespace {

/// Text given as an argument or in a file.
struct Source {
  std::string argument;
  std::string file;
  bool from_file = false;
};

struct TokenizeOptions {
  std::string model;
  Source text;
  EncodeOptions encode;
};

struct DetokenizeOptions {
  std::string model;
  Source ids;
};

Result<Tokenizer> load_tokenizer(const std::string& model) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::filesystem::path path, resolve_model(model));
  return onebeat::load_tokenizer(path);
}

Result<std::string> read(const Source& source) {
  if (source.from_file) return read_input(source.file);
  return source.argument;
}

Status run_tokenize(const TokenizeOptions& options) {
  ONEBEAT_ASSIGN_OR_RETURN(const std::string text, read(options.text));
  ONEBEAT_ASSIGN_OR_RETURN(const Tokenizer tokenizer, load_tokenizer(options.model));
  ONEBEAT_ASSIGN_OR_RETURN(const auto ids, tokenizer.encode(text, options.encode));
  return write_output("", as_json(ids) + "\n");
}

Status run_detokenize(const DetokenizeOptions& options, const std::vector<std::int32_t>& ids) {
  ONEBEAT_ASSIGN_OR_RETURN(const Tokenizer tokenizer, load_tokenizer(options.model));
  ONEBEAT_ASSIGN_OR_RETURN(std::string text, tokenizer.decode(ids));
  // Exactly the text for files and pipes; a terminal's next prompt belongs on a line of its own.
  if (isatty(STDOUT_FILENO) == 1 && !text.ends_with('\n')) text += '\n';
  return write_output("", text);
}

void add_model_option(CLI::App* command, std::string& model) {
  command
      ->add_option("-m,--model", model,
                   "A .gguf file, a folder with safetensors, or a name that `onebeat pull` knows")
      ->required();
}

/// An argument, or `-f FILE`: one of the two.
void add_source(CLI::App* command, Source& source, const std::string& name,
                const std::string& what) {
  CLI::Option* argument = command->add_option(name, source.argument, what);
  CLI::Option* file =
      command->add_option("-f,--file", source.file, "Takes it from this file; - is standard input");
  file->excludes(argument);
}

/// Finds out which of the two was given.
void settle(CLI::App* command, Source& source, const std::string& name) {
  source.from_file = !source.file.empty();
  if (!source.from_file && command->get_option(name)->count() == 0) {
    throw CLI::RequiredError(name + " or --file FILE");
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app, Outcome& outcome) {
  struct Typed {
    TokenizeOptions options;
    bool bos = false;
  };
  const auto typed = std::make_shared<Typed>();
  CLI::App* command =
      app.add_subcommand("tokenize", "Prints the token ids of a text as a JSON list");
  add_model_option(command, typed->options.model);
  add_source(command, typed->options.text, "text", "The text");
  command->add_flag("--special", typed->options.encode.parse_special,
                    "Texts of special tokens, such as <|im_end|>, become those tokens");
  command->add_flag("--bos", typed->bos, "Puts the token first that begins a sequence");
  command->footer("Bytes that are not UTF-8 are read as U+FFFD.");
  command->callback([typed, command, &outcome] {
    settle(command, typed->options.text, "text");
    if (typed->bos) typed->options.encode.begin = EncodeOptions::Begin::kAlways;
    outcome.finish(run_tokenize(typed->options));
  });
}

void add_detokenize_command(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<DetokenizeOptions>();
  CLI::App* command = app.add_subcommand("detokenize", "Prints the text of token ids");
  add_model_option(command, options->model);
  add_source(command, options->ids, "ids", "A JSON list, such as '[1, 2]'");
  command->footer(
      "Special tokens are written as their text; bytes that are not UTF-8 become U+FFFD.");
  command->callback([options, command, &outcome] {
    settle(command, options->ids, "ids");
    const Result<std::string> text = read(options->ids);
    if (!text.ok()) return outcome.finish(text.status());
    const Result<std::vector<std::int32_t>> ids = parse_id_list(*text);
    if (!ids.ok() && ids.status().code() == StatusCode::kInvalidArgument) {
      throw CLI::ValidationError("ids", ids.status().message());
    }
    outcome.finish(ids.ok() ? run_detokenize(*options, *ids) : ids.status());
  });
}

}  // namespace onebeat::cli
