// SPDX-License-Identifier: Apache-2.0
#include "engine/loading/model_texts.h"

#include <system_error>

#include "base/error.h"
#include "engine/loading/tokenizer_from_gguf.h"
#include "engine/loading/tokenizer_from_json.h"
#include "json/json.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// "chat_template": a text, or a list of named ones.
Result<std::string> find_template(JsonValue root) {
  const auto value = root.find("chat_template");
  if (!value || value->is(JsonKind::kNull)) return std::string();
  if (!value->is(JsonKind::kArray)) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto text, root.required<std::string_view>("chat_template"));
    return std::string(text);
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto name, value->at(i).required<std::string_view>("name"));
    if (name != "default") continue;
    ONEBEAT_ASSIGN_OR_RETURN(const auto text, value->at(i).required<std::string_view>("template"));
    return std::string(text);
  }
  return unsupported("none of the {} chat templates is called \"default\"", value->size());
}

Result<std::string> read_chat_template(const fs::path& folder) {
  const fs::path alone = folder / "chat_template.jinja";
  if (is_there(alone)) {
    ONEBEAT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(alone));
    return std::string(text_of(file));
  }
  const fs::path settings = folder / "tokenizer_config.json";
  if (!is_there(settings)) return std::string();
  ONEBEAT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(settings));
  ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument document,
                           JsonDocument::parse(text_of(file), settings.string()));
  Result<std::string> source = find_template(document.root());
  if (!source.ok()) return source.status().with_context(settings.string());
  return source;
}

}  // namespace

Result<Tokenizer> make_tokenizer(const ModelFiles& files) {
  if (const auto* folder = std::get_if<HfFolder>(&files)) {
    return make_tokenizer(folder->path, folder->config.vocabulary);
  }
  return make_tokenizer(std::get<GgufFile>(files));
}

Result<Tokenizer> load_tokenizer(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    ONEBEAT_RETURN_IF_ERROR(check_model_folder(path));
    return make_tokenizer(path);
  }
  ONEBEAT_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(path));
  return make_tokenizer(file);
}

Result<std::string> read_chat_template(const ModelFiles& files) {
  if (const auto* folder = std::get_if<HfFolder>(&files)) return read_chat_template(folder->path);
  ONEBEAT_ASSIGN_OR_RETURN(const auto source, std::get<GgufFile>(files).optional<std::string_view>(
                                                  "tokenizer.chat_template", std::string_view()));
  return std::string(source);
}

}  // namespace onebeat
