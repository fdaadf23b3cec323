// SPDX-License-Identifier: Apache-2.0
// A text is cut at special tokens first; what lies between goes to the encoder of the model's
// algorithm.
#include "text/tokenizer.h"

#include <algorithm>
#include <new>
#include <utility>
#include <variant>

#include "base/error.h"
#include "text/bpe/byte_level_encoder.h"
#include "text/special_matcher.h"
#include "text/spm/space_mark.h"
#include "text/spm/spm_encoder.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace onebeat {

struct Tokenizer::Parts {
  explicit Parts(Vocabulary v) : vocabulary(std::move(v)) {}

  Vocabulary vocabulary;
  std::variant<std::monostate, ByteLevelEncoder, SpmEncoder> encoder;  // Refers to `vocabulary`.
  SpecialMatcher always;                                               // User-defined tokens.
  SpecialMatcher special;  // Those and the control tokens.
  std::optional<std::int32_t> bos;
  std::optional<std::int32_t> eos;
  std::vector<std::int32_t> end_tokens;
  bool add_bos = false;
  bool space_first = false;  // What begins a text is decoded without its space.
};

namespace {

constexpr std::size_t kMaxTextBytes = (std::size_t{1} << 31) - 1;

Status check_id(std::int32_t id, std::int32_t size) {
  if (id >= 0 && id < size) return {};
  return out_of_range("token id {} is not in the vocabulary, whose ids are 0 to {}", id, size - 1);
}

/// Appends the ids of the special tokens in a text and of what lies between them.
template <typename Pass>
Status encode_segments(Pass&& pass, const SpecialMatcher& matcher, std::string_view text,
                       std::vector<std::int32_t>& ids) {
  for (std::size_t at = 0; at < text.size();) {
    const auto found = matcher.find(text, at);
    ONEBEAT_RETURN_IF_ERROR(pass.encode(text.substr(at, found.begin - at), at == 0, ids));
    if (found.id >= 0) ids.push_back(found.id);
    at = found.begin + found.length;
  }
  return {};
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::make(const TokenizerSpec& spec) {
  const bool byte_level = spec.model == "gpt2";
  if (!byte_level && spec.model != "llama") {
    return unsupported(
        "the tokenizer '{}' is not known; known are gpt2 (byte-level BPE) and llama (BPE as "
        "SentencePiece does it)",
        spec.model.substr(0, 64));
  }
  using Spelling = Vocabulary::Spelling;
  ONEBEAT_ASSIGN_OR_RETURN(
      Vocabulary vocabulary,
      Vocabulary::make(spec, byte_level ? Spelling::kByteAlphabet : Spelling::kSpaceMark));
  auto parts = std::make_unique<Parts>(std::move(vocabulary));
  if (byte_level) {
    ONEBEAT_ASSIGN_OR_RETURN(parts->encoder, ByteLevelEncoder::make(spec, parts->vocabulary));
  } else {
    ONEBEAT_ASSIGN_OR_RETURN(parts->encoder, SpmEncoder::make(spec, parts->vocabulary));
    parts->space_first = spec.space_prefix != SpacePrefix::kNone;
  }

  const std::int32_t size = parts->vocabulary.size();
  for (std::int32_t id = 0; id < size; ++id) {
    const TokenType type = parts->vocabulary.type(id);
    const std::string_view text = parts->vocabulary.bytes(id);
    if (text.empty()) continue;
    if (type == TokenType::kUserDefined) {
      ONEBEAT_RETURN_IF_ERROR(parts->always.add(text, id));
      if (!byte_level && text.find(' ') != std::string_view::npos) {
        // In a text its spaces may also be marks.
        const std::string marked = with_marks(text);
        ONEBEAT_RETURN_IF_ERROR(parts->always.add(marked, id));
        ONEBEAT_RETURN_IF_ERROR(parts->special.add(marked, id));
      }
    }
    if (type == TokenType::kUserDefined || type == TokenType::kControl ||
        type == TokenType::kUnknown) {
      ONEBEAT_RETURN_IF_ERROR(parts->special.add(text, id));
    }
  }
  parts->bos = spec.bos;
  parts->eos = spec.eos;
  parts->end_tokens = spec.end_tokens;
  if (spec.eos) parts->end_tokens.push_back(*spec.eos);
  parts->add_bos = spec.add_bos;
  if (spec.bos)
    ONEBEAT_RETURN_IF_ERROR(
        check_id(*spec.bos, size).with_context("the token that begins a sequence"));
  for (const std::int32_t id : parts->end_tokens) {
    ONEBEAT_RETURN_IF_ERROR(check_id(id, size).with_context("a token that ends a sequence"));
  }
  return Tokenizer(std::move(parts));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text,
                                                    const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return out_of_range("the text has {} bytes; at most {} can be encoded at once", text.size(),
                        kMaxTextBytes);
  }
  std::vector<std::int32_t> ids;
  using Begin = EncodeOptions::Begin;
  if (options.begin == Begin::kAlways || (options.begin == Begin::kModel && parts_->add_bos)) {
    if (!parts_->bos) return unsupported("the model has no token that begins a sequence");
    ids.push_back(*parts_->bos);
  }
  std::string repaired;
  if (valid_prefix(text) != text.size()) {
    append_valid(text, true, repaired);
    text = repaired;
    if (text.size() > kMaxTextBytes) {
      return out_of_range(
          "the text has {} bytes once its invalid bytes are replaced; at most {} can be encoded at "
          "once",
          text.size(), kMaxTextBytes);
    }
  }
  const SpecialMatcher& matcher = options.parse_special ? parts_->special : parts_->always;
  try {
    if (const auto* byte_level = std::get_if<ByteLevelEncoder>(&parts_->encoder)) {
      ONEBEAT_RETURN_IF_ERROR(
          encode_segments(ByteLevelEncoder::Pass(*byte_level), matcher, text, ids));
    } else {
      ONEBEAT_RETURN_IF_ERROR(encode_segments(
          SpmEncoder::Pass(std::get<SpmEncoder>(parts_->encoder)), matcher, text, ids));
    }
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory to encode a text of {} bytes", text.size());
  }
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const std::int32_t> ids, bool show_special) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    ONEBEAT_ASSIGN_OR_RETURN(const std::string_view token, token_bytes(id));
    if (show_special || !is_control(id)) bytes.append(token);
  }
  if (parts_->space_first && bytes.starts_with(' ')) bytes.erase(0, 1);
  if (valid_prefix(bytes) == bytes.size()) return bytes;
  std::string text;
  append_valid(bytes, true, text);
  return text;
}

Result<std::string_view> Tokenizer::token_bytes(std::int32_t id) const {
  ONEBEAT_RETURN_IF_ERROR(check_id(id, vocabulary_size()));
  return parts_->vocabulary.bytes(id);
}

bool Tokenizer::puts_space_first() const {
  return parts_->space_first;
}

std::int32_t Tokenizer::vocabulary_size() const {
  return parts_->vocabulary.size();
}

bool Tokenizer::is_control(std::int32_t id) const {
  return parts_->vocabulary.type(id) == TokenType::kControl;
}

bool Tokenizer::is_end(std::int32_t id) const {
  return std::find(parts_->end_tokens.begin(), parts_->end_tokens.end(), id) !=
         parts_->end_tokens.end();
}

std::optional<std::int32_t> Tokenizer::bos() const {
  return parts_->bos;
}
std::optional<std::int32_t> Tokenizer::eos() const {
  return parts_->eos;
}

}  // namespace onebeat
