// SPDX-License-Identifier: Apache-2.0
// A tokenizer.json is a program of small parts. The few arrangements that models use are recognised
// as a whole; anything else is refused by name, because it would give other ids.
#include "engine/loading/tokenizer_arrangement.h"

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/quoted.h"
#include "engine/loading/json_parts.h"
#include "text/bpe/pre_tokenizer.h"
#include "text/spm/space_mark.h"

namespace onebeat {
namespace {

constexpr std::string_view kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The rule of a Split before byte-level pieces.
Result<std::string_view> rule_of_split(JsonValue split) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto behavior, split.required<std::string_view>("behavior"));
  ONEBEAT_ASSIGN_OR_RETURN(const bool invert, split.optional<bool>("invert", false));
  const auto pattern = split.find("pattern");
  if (!pattern) return data_loss("a Split has no pattern");
  ONEBEAT_ASSIGN_OR_RETURN(const auto regex, pattern->required<std::string_view>("Regex"));
  if (behavior == "Isolated" && !invert) {
    if (regex == kLlama3Split) return std::string_view("llama-bpe");
    if (regex == kQwen2Split) return std::string_view("qwen2");
  }
  return unsupported("the Split by {} ({}) is not known; known are those of Llama 3 and Qwen2",
                     quoted(regex), quoted(behavior));
}

/// The name of the rule that an arrangement of pre-tokenizers is.
Result<std::string_view> rule_of(JsonValue root) {
  const auto whole = present(root, "pre_tokenizer");
  if (!whole) return unsupported("there is none; byte-level BPE has ByteLevel");
  const std::vector<JsonValue> parts = parts_of(*whole, "pretokenizers");
  std::string types;
  for (const JsonValue part : parts) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto type, type_of(part));
    if (!types.empty()) types += ' ';
    types += type.substr(0, 32);
  }
  if (parts.empty() || parts.size() > 2 || *type_of(parts.back()) != "ByteLevel") {
    return unsupported("{} is not known; known are ByteLevel alone, or after Split or Digits",
                       quoted(std::string_view(types)));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const bool space, parts.back().optional<bool>("add_prefix_space", true));
  if (space) return unsupported("\"add_prefix_space\" is true; only false is implemented");
  ONEBEAT_ASSIGN_OR_RETURN(const bool regex, parts.back().optional<bool>("use_regex", true));
  if (parts.size() == 1 && regex) return std::string_view("gpt-2");
  if (parts.size() == 2 && regex && *type_of(parts[0]) == "Digits") {
    ONEBEAT_ASSIGN_OR_RETURN(const bool single,
                             parts[0].optional<bool>("individual_digits", false));
    if (single) return std::string_view("smollm");
  }
  if (parts.size() == 2 && !regex && *type_of(parts[0]) == "Split") return rule_of_split(parts[0]);
  return unsupported("{} with these settings is not known", quoted(std::string_view(types)));
}

/// Whether text is composed (NFC) first.
Result<bool> composes(JsonValue root) {
  const auto normalizer = present(root, "normalizer");
  if (!normalizer) return false;
  const std::vector<JsonValue> parts = parts_of(*normalizer, "normalizers");
  if (parts.empty()) return false;
  ONEBEAT_ASSIGN_OR_RETURN(const auto type, type_of(parts[0]));
  if (parts.size() > 1 || type != "NFC") {
    return unsupported("{} is not implemented for byte-level BPE; NFC alone is", quoted(type));
  }
  return true;
}

Status check_model(JsonValue model) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto type, model.optional<std::string_view>("type", "BPE"));
  if (type != "BPE")
    return unsupported("the tokenizer {} is not implemented; BPE is", quoted(type));
  ONEBEAT_ASSIGN_OR_RETURN(const double dropout, model.optional<double>("dropout", 0.0));
  if (dropout != 0) return unsupported("\"dropout\" is {}; only 0 is implemented", dropout);
  for (const std::string_view member : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto affix, model.optional<std::string_view>(member, ""));
    if (!affix.empty()) return unsupported("{} is {}", quoted(member), quoted(affix));
  }
  return {};
}

Result<TokenizerArrangement> byte_level_arrangement(JsonValue root, bool whole_words) {
  TokenizerArrangement arrangement;
  const auto name = rule_of(root);
  if (!name.ok()) return name.status().with_context("the pre-tokenizer");
  const auto composed = composes(root);
  if (!composed.ok()) return composed.status().with_context("the normalizer");
  arrangement.pre_tokenizer = *name == "qwen2" && !*composed ? "deepseek-r1-qwen" : *name;
  ONEBEAT_ASSIGN_OR_RETURN(const PreTokenizerRule* rule,
                           find_pre_tokenizer_rule(arrangement.pre_tokenizer));
  if (*composed != rule->compose || whole_words != rule->whole_words) {
    return unsupported(
        "the pre-tokenizer {} with {} normalizer and \"ignore_merges\" {} is not implemented",
        *name, *composed ? "an NFC" : "no", whole_words);
  }
  return arrangement;
}

/// What normalizers or a pre-tokenizer do to spaces.
struct SpaceRule {
  bool marks = false;  ///< Spaces become marks.
  SpacePrefix prefix = SpacePrefix::kNone;
};

/// Prepend and Replace.
Result<SpaceRule> rule_of_normalizers(JsonValue root) {
  SpaceRule rule;
  const auto whole = present(root, "normalizer");
  if (!whole) return rule;
  for (const JsonValue part : parts_of(*whole, "normalizers")) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto type, type_of(part));
    if (type == "Prepend" && !rule.marks && rule.prefix == SpacePrefix::kNone) {
      ONEBEAT_ASSIGN_OR_RETURN(const auto text, part.required<std::string_view>("prepend"));
      if (text != kSpaceMark) return unsupported("it prepends {}", quoted(text));
      rule.prefix = SpacePrefix::kAlways;
    } else if (type == "Replace" && !rule.marks) {
      ONEBEAT_ASSIGN_OR_RETURN(const auto by, part.required<std::string_view>("content"));
      const auto pattern = part.find("pattern");
      if (!pattern) return data_loss("a Replace has no pattern");
      ONEBEAT_ASSIGN_OR_RETURN(const auto text, pattern->required<std::string_view>("String"));
      if (text != " " || by != kSpaceMark) {
        return unsupported("it replaces {} by {}", quoted(text), quoted(by));
      }
      rule.marks = true;
    } else {
      return unsupported("{} in this place is not implemented for BPE with byte fallback",
                         quoted(type));
    }
  }
  return rule;
}

/// Metaspace, or a Split at spaces, of which there are none left.
Result<SpaceRule> rule_of_pre_tokenizer(JsonValue root, SpaceRule rule) {
  const auto part = present(root, "pre_tokenizer");
  if (!part) return rule;
  ONEBEAT_ASSIGN_OR_RETURN(const auto type, type_of(*part));
  if (type == "Split" && rule.marks) {
    const auto pattern = part->find("pattern");
    if (!pattern) return data_loss("a Split has no pattern");
    ONEBEAT_ASSIGN_OR_RETURN(const auto text, pattern->required<std::string_view>("String"));
    if (text == " ") return rule;
    return unsupported("the Split by {} is not known", quoted(text));
  }
  if (type != "Metaspace" || rule.prefix != SpacePrefix::kNone) {
    return unsupported("{} in this place is not implemented for BPE with byte fallback",
                       quoted(type));
  }
  ONEBEAT_ASSIGN_OR_RETURN(const auto mark, part->required<std::string_view>("replacement"));
  ONEBEAT_ASSIGN_OR_RETURN(const bool split, part->optional<bool>("split", true));
  if (mark != kSpaceMark || split) {
    return unsupported("a Metaspace with \"replacement\" {} and \"split\" {} is not implemented",
                       quoted(mark), split);
  }
  // Files of before "prepend_scheme" say "add_prefix_space".
  ONEBEAT_ASSIGN_OR_RETURN(const bool prefix, part->optional<bool>("add_prefix_space", true));
  ONEBEAT_ASSIGN_OR_RETURN(const auto scheme, part->optional<std::string_view>(
                                                  "prepend_scheme", prefix ? "always" : "never"));
  rule.marks = true;
  if (scheme == "always") {
    rule.prefix = SpacePrefix::kMissing;
  } else if (scheme == "first") {
    rule.prefix = SpacePrefix::kFirst;
  } else if (scheme != "never") {
    return unsupported("the \"prepend_scheme\" {} is not known", quoted(scheme));
  }
  return rule;
}

Result<TokenizerArrangement> marked_arrangement(JsonValue root, JsonValue model) {
  const auto normal = rule_of_normalizers(root);
  if (!normal.ok()) return normal.status().with_context("the normalizer");
  const auto rule = rule_of_pre_tokenizer(root, *normal);
  if (!rule.ok()) return rule.status().with_context("the pre-tokenizer");
  if (!rule->marks) return unsupported("nothing turns spaces into marks (U+2581)");
  ONEBEAT_ASSIGN_OR_RETURN(const bool fuse, model.optional<bool>("fuse_unk", false));
  if (!fuse)
    return unsupported("\"fuse_unk\" is false; with byte fallback only true is implemented");
  TokenizerArrangement arrangement;
  arrangement.marks_spaces = true;
  arrangement.space_prefix = rule->prefix;
  return arrangement;
}

}  // namespace

Result<TokenizerArrangement> read_arrangement(JsonValue root, JsonValue model) {
  ONEBEAT_RETURN_IF_ERROR(check_model(model));
  ONEBEAT_ASSIGN_OR_RETURN(const bool fallback, model.optional<bool>("byte_fallback", false));
  ONEBEAT_ASSIGN_OR_RETURN(const bool whole_words, model.optional<bool>("ignore_merges", false));
  if (!fallback) return byte_level_arrangement(root, whole_words);
  if (whole_words) {
    return unsupported("\"ignore_merges\" with byte fallback is not implemented");
  }
  return marked_arrangement(root, model);
}

}  // namespace onebeat
