// SPDX-License-Identifier: Apache-2.0
#include "engine/loading/tokenizer_from_json.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "engine/loading/end_texts.h"
#include "engine/loading/json_parts.h"
#include "engine/loading/tokenizer_arrangement.h"
#include "json/json.h"
#include "model/formats/mapped_file.h"
#include "text/spm/space_mark.h"

namespace onebeat {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMostEndTokens = 64;

/// Puts tokens at their ids; every id at most once.
class TokenTable {
 public:
  explicit TokenTable(TokenizerSpec& spec) : spec_(spec) {}

  /// Makes room for `tokens` tokens of ids up to `largest`.
  Status reserve(std::size_t tokens, std::int64_t largest) {
    // Ids may have holes, but a file of a few bytes must not ask for gigabytes.
    const auto limit = static_cast<std::int64_t>(2 * tokens + 65536);
    if (largest >= limit) {
      return data_loss("the largest id is {}, but there are only {} tokens", largest, tokens);
    }
    spec_.tokens.resize(static_cast<std::size_t>(largest + 1));
    spec_.types.assign(spec_.tokens.size(), TokenType::kUnused);
    taken_.assign(spec_.tokens.size(), false);
    return {};
  }

  Status put(std::int64_t id, std::string_view text, TokenType type) {
    const auto at = static_cast<std::size_t>(id);
    if (taken_[at] && spec_.tokens[at] != text) {
      return data_loss("the tokens {} and {} both have id {}", quoted(spec_.tokens[at]),
                       quoted(text), id);
    }
    taken_[at] = true;
    spec_.tokens[at] = text;
    spec_.types[at] = type;
    return {};
  }

 private:
  TokenizerSpec& spec_;
  std::vector<bool> taken_;
};

Result<std::int64_t> read_id(JsonValue value) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto id, value.as<std::int32_t>());
  if (id < 0) return invalid_argument("the id {} is below 0", id);
  return std::int64_t{id};
}

Result<std::int64_t> id_of_added(JsonValue token) {
  const auto id = token.find("id");
  if (!id) return data_loss("it has no \"id\"");
  return read_id(*id);
}

/// A run of space marks. In texts they stand for spaces, which merging joins.
bool is_marks(std::string_view text) {
  while (text.starts_with(kSpaceMark)) text.remove_prefix(kSpaceMark.size());
  return text.empty();
}

Status put_added(JsonValue token, bool marks_spaces, TokenTable& table) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto id, id_of_added(token));
  ONEBEAT_ASSIGN_OR_RETURN(const auto text, token.required<std::string_view>("content"));
  if (text.empty()) return data_loss("its \"content\" is empty");
  for (const std::string_view member : {"single_word", "lstrip", "rstrip"}) {
    ONEBEAT_ASSIGN_OR_RETURN(const bool set, token.optional<bool>(member, false));
    if (set) return unsupported("{} of {} is not implemented", quoted(member), quoted(text));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const bool special, token.optional<bool>("special", false));
  if (marks_spaces && !special && is_marks(text)) return table.put(id, text, TokenType::kNormal);
  return table.put(id, text, special ? TokenType::kControl : TokenType::kUserDefined);
}

Status read_tokens(JsonValue root, JsonValue model, bool marks_spaces, TokenizerSpec& spec) {
  const auto vocabulary = model.find("vocab");
  if (!vocabulary || !vocabulary->is(JsonKind::kObject)) {
    return data_loss("\"vocab\" of the model must be an object of ids");
  }
  const auto added = present(root, "added_tokens");
  if (added && !added->is(JsonKind::kArray)) {
    return data_loss("\"added_tokens\" is {}; it must be an array", to_string(added->kind()));
  }
  const std::size_t num_added = added ? added->size() : 0;
  std::int64_t largest = -1;
  for (std::size_t i = 0; i < vocabulary->size(); ++i) {
    const auto id = read_id(vocabulary->at(i));
    if (!id.ok()) return id.status().with_context("token " + quoted(vocabulary->name(i)));
    largest = std::max(largest, *id);
  }
  const auto context = [](std::size_t i) { return "added token " + std::to_string(i); };
  for (std::size_t i = 0; i < num_added; ++i) {
    const auto id = id_of_added(added->at(i));
    if (!id.ok()) return id.status().with_context(context(i));
    largest = std::max(largest, *id);
  }
  TokenTable table(spec);
  ONEBEAT_RETURN_IF_ERROR(table.reserve(vocabulary->size() + num_added, largest));
  for (std::size_t i = 0; i < vocabulary->size(); ++i) {
    const bool byte = marks_spaces && byte_of_token(vocabulary->name(i)) >= 0;
    ONEBEAT_RETURN_IF_ERROR(table.put(*read_id(vocabulary->at(i)), vocabulary->name(i),
                                      byte ? TokenType::kByte : TokenType::kNormal));
  }
  for (std::size_t i = 0; i < num_added; ++i) {
    ONEBEAT_RETURN_IF_ERROR(put_added(added->at(i), marks_spaces, table).with_context(context(i)));
  }
  return {};
}

/// Merges are written "a b", or as pairs, which `joined` then holds in the other form.
Status read_merges(JsonValue model, std::string& joined, TokenizerSpec& spec) {
  const auto merges = model.find("merges");
  if (!merges || !merges->is(JsonKind::kArray)) {
    return data_loss("\"merges\" of the model must be an array");
  }
  const auto bad = [](std::size_t i) {
    return data_loss("merge {} is neither two texts nor one with a space between them", i);
  };
  std::vector<std::size_t> ends;  // Of the joined ones.
  for (std::size_t i = 0; i < merges->size(); ++i) {
    const JsonValue merge = merges->at(i);
    if (const auto text = merge.as<std::string_view>(); text.ok()) {
      spec.merges.push_back(*text);
      continue;
    }
    if (!merge.is(JsonKind::kArray) || merge.size() != 2) return bad(i);
    const auto left = merge.at(0).as<std::string_view>();
    const auto right = merge.at(1).as<std::string_view>();
    if (!left.ok() || !right.ok()) return bad(i);
    joined.append(*left).append(1, ' ').append(*right);
    ends.push_back(joined.size());
  }
  if (!ends.empty() && !spec.merges.empty()) {
    return data_loss("\"merges\" holds both texts and pairs");
  }
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    spec.merges.push_back(std::string_view(joined).substr(begin, end - begin));
    begin = end;
  }
  return {};
}

Result<std::int32_t> id_of(const TokenizerSpec& spec, std::string_view text) {
  // Backwards: special tokens come last.
  const auto found = std::find(spec.tokens.rbegin(), spec.tokens.rend(), text);
  if (text.empty() || found == spec.tokens.rend()) {
    return invalid_argument("there is no token {}", quoted(text));
  }
  return static_cast<std::int32_t>(spec.tokens.rend() - found - 1);
}

/// The token that the post-processor puts before a text, if any.
Result<std::optional<std::int32_t>> begin_of_template(JsonValue root, const TokenizerSpec& spec) {
  using None = std::optional<std::int32_t>;
  const auto whole = present(root, "post_processor");
  if (!whole) return None();
  for (const JsonValue part : parts_of(*whole, "processors")) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto type, type_of(part));
    if (type == "ByteLevel") continue;  // Changes places in the text, not ids.
    if (type != "TemplateProcessing") {
      return unsupported("the post-processor {} is not implemented", quoted(type));
    }
    const auto single = part.find("single");
    if (!single || !single->is(JsonKind::kArray))
      return data_loss("the template has no \"single\"");
    const auto begins = single->size() == 2 ? single->at(0).find("SpecialToken") : std::nullopt;
    const bool known = (single->size() == 1 && single->at(0).find("Sequence")) ||
                       (begins && single->at(1).find("Sequence"));
    if (!known) {
      return unsupported(
          "the template adds more than one token before the text; that is not "
          "implemented");
    }
    if (!begins) return None();
    ONEBEAT_ASSIGN_OR_RETURN(const auto text, begins->required<std::string_view>("id"));
    ONEBEAT_ASSIGN_OR_RETURN(const auto id, id_of(spec, text));
    return None(id);
  }
  return None();
}

Status read_ends(const TokenizerHints& hints, TokenizerSpec& spec) {
  if (!hints.eos.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(spec.eos, id_of(spec, hints.eos));
  }
  spec.end_tokens = hints.end_tokens;
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    const bool ends =
        std::find(kEndTexts.begin(), kEndTexts.end(), spec.tokens[id]) != kEndTexts.end();
    if (ends && spec.types[id] == TokenType::kControl) {
      spec.end_tokens.push_back(static_cast<std::int32_t>(id));
    }
  }
  return {};
}

Result<Tokenizer> make_from_root(JsonValue root, const TokenizerHints& hints) {
  if (!root.is(JsonKind::kObject)) {
    return data_loss("it is {}; a tokenizer is an object", to_string(root.kind()));
  }
  const auto model = root.find("model");
  if (!model || !model->is(JsonKind::kObject)) return data_loss("\"model\" must be an object");
  ONEBEAT_ASSIGN_OR_RETURN(const TokenizerArrangement arrangement, read_arrangement(root, *model));
  TokenizerSpec spec;
  spec.model = arrangement.marks_spaces ? "llama" : "gpt2";
  spec.pre_tokenizer = arrangement.pre_tokenizer;
  spec.space_prefix = arrangement.space_prefix;
  std::string joined;
  ONEBEAT_RETURN_IF_ERROR(read_tokens(root, *model, arrangement.marks_spaces, spec));
  ONEBEAT_RETURN_IF_ERROR(read_merges(*model, joined, spec));
  if (arrangement.marks_spaces) {
    if (spec.merges.empty()) return data_loss("there are no merges");
    ONEBEAT_ASSIGN_OR_RETURN(const auto unknown,
                             model->optional<std::string_view>("unk_token", ""));
    if (!unknown.empty()) {
      ONEBEAT_ASSIGN_OR_RETURN(spec.unknown, id_of(spec, unknown));
    }
  }
  const auto begin = begin_of_template(root, spec);
  if (!begin.ok()) return begin.status().with_context("the post-processor");
  spec.bos = *begin;
  if (!spec.bos && !hints.bos.empty()) {
    ONEBEAT_ASSIGN_OR_RETURN(spec.bos, id_of(spec, hints.bos));
  }
  spec.add_bos = *begin || (hints.add_bos && spec.bos);
  ONEBEAT_RETURN_IF_ERROR(read_ends(hints, spec));
  const std::size_t ids =
      std::max<std::size_t>(spec.tokens.size(), static_cast<std::size_t>(hints.vocabulary));
  spec.tokens.resize(ids);
  spec.types.resize(ids, TokenType::kUnused);
  return Tokenizer::make(spec);
}

/// A JSON file of the folder, kept with its text's document; nothing if it is not there.
Result<std::optional<JsonDocument>> read_beside(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<JsonDocument>();
  ONEBEAT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  ONEBEAT_ASSIGN_OR_RETURN(
      JsonDocument document,
      JsonDocument::parse({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                          path.string()));
  return std::optional<JsonDocument>(std::move(document));
}

/// A token is written as its text, or as an object with its text as "content".
Result<std::string_view> token_text(JsonValue object, std::string_view member) {
  const auto value = present(object, member);
  if (!value) return std::string_view();
  if (!value->is(JsonKind::kObject)) return object.required<std::string_view>(member);
  return value->required<std::string_view>("content");
}

Status add_end_tokens(JsonValue object, TokenizerHints& hints) {
  const auto eos = present(object, "eos_token_id");
  if (!eos) return {};
  const std::size_t count = eos->is(JsonKind::kArray) ? eos->size() : 1;
  if (count > kMostEndTokens) {
    return invalid_argument("\"eos_token_id\" has {} ids; the limit is {}", count, kMostEndTokens);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = read_id(eos->is(JsonKind::kArray) ? eos->at(i) : *eos);
    if (!id.ok()) return id.status().with_context("\"eos_token_id\"");
    hints.end_tokens.push_back(static_cast<std::int32_t>(*id));
  }
  return {};
}

}  // namespace

Result<Tokenizer> parse_tokenizer_json(std::string_view text, std::string_view name,
                                       const TokenizerHints& hints) {
  JsonLimits limits;
  limits.max_bytes = std::size_t{256} << 20;
  ONEBEAT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::parse(text, name, limits));
  Result<Tokenizer> tokenizer = make_from_root(document.root(), hints);
  if (!tokenizer.ok()) return tokenizer.status().with_context(name);
  return tokenizer;
}

Result<Tokenizer> make_tokenizer(const fs::path& folder, std::int32_t vocabulary) {
  TokenizerHints hints;
  hints.vocabulary = vocabulary;
  ONEBEAT_ASSIGN_OR_RETURN(const auto settings, read_beside(folder / "tokenizer_config.json"));
  if (settings) {
    const auto read = [&]() -> Status {
      ONEBEAT_ASSIGN_OR_RETURN(hints.bos, token_text(settings->root(), "bos_token"));
      ONEBEAT_ASSIGN_OR_RETURN(hints.eos, token_text(settings->root(), "eos_token"));
      ONEBEAT_ASSIGN_OR_RETURN(hints.add_bos,
                               settings->root().optional<bool>("add_bos_token", false));
      return {};
    };
    ONEBEAT_RETURN_IF_ERROR(read().with_context((folder / "tokenizer_config.json").string()));
  }
  for (const std::string_view file : {"generation_config.json", "config.json"}) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto document, read_beside(folder / file));
    if (!document) continue;
    ONEBEAT_RETURN_IF_ERROR(
        add_end_tokens(document->root(), hints).with_context((folder / file).string()));
  }
  const fs::path path = folder / "tokenizer.json";
  ONEBEAT_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  return parse_tokenizer_json(
      {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string(),
      hints);
}

}  // namespace onebeat
