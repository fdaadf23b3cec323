// SPDX-License-Identifier: Apache-2.0
// Which characters are letters and numerals is PCRE2's knowledge: Unicode 14 in PCRE2 10.40
// to 10.42. Characters that came later are cut as symbols
// (docs/decisions/0002-bytes-and-characters-without-a-name.md).
#include "text/bpe/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

// Unicode's White_Space. PCRE2's own \s also has U+180E, which left the property in Unicode 6.3 and
// which the tokenizers that these rules follow do not take for a space.
constexpr std::string_view kSpaces =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// In the patterns, inside or outside a class, @ is a white space; # outside a class is anything
// else.
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^@\p{L}\p{N}]+[\r\n]*|@*[\r\n]+|@+(?!#)|@+)";
constexpr auto kRules = std::to_array<PreTokenizerRule>({
    {"gpt-2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^@\p{L}\p{N}]+|@+(?!#)|@+)"},
    // Numerals one by one, and gpt-2's rule within what lies between them: so a run of spaces
    // before a numeral is whole, as it is at the end of the text.
    {"smollm", R"(\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^@\p{L}\p{N}]+|@+(?![^@\p{N}])|@+)"},
    {"llama-bpe",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^@\p{L}\p{N}]+[\r\n]*|@*[\r\n]+|@+(?!#)|@+)",
     true},
    {"qwen2", kQwen2Pattern, false, true},
    {"deepseek-r1-qwen", kQwen2Pattern},
});

/// Writes out @ and # (which no pattern uses for themselves).
std::string expand(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (const char c : pattern) {
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    if (c == '@') {
      out += in_class ? std::string(kSpaces) : fmt::format("[{}]", kSpaces);
    } else if (c == '#') {
      out += fmt::format("[^{}]", kSpaces);
    } else {
      out += c;
    }
  }
  return out;
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

constexpr std::size_t kJitStackBytes = std::size_t{1} << 20;

}  // namespace

Result<const PreTokenizerRule*> find_pre_tokenizer_rule(std::string_view name) {
  std::string known;
  for (const PreTokenizerRule& rule : kRules) {
    if (rule.name == name) return &rule;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", rule.name);
  }
  return unsupported("the pre-tokenizer '{}' is not known; known are {}", name.substr(0, 64),
                     known);
}

struct PreTokenizer::Code {
  pcre2_code* code = nullptr;
  bool compiled_to_machine = false;
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

PreTokenizer::PreTokenizer(std::unique_ptr<Code> code) : code_(std::move(code)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::make(const PreTokenizerRule& rule) {
  const std::string pattern = expand(rule.pattern);
  int error = 0;
  PCRE2_SIZE where = 0;
  auto code = std::make_unique<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &where, nullptr);
  if (code->code == nullptr) {
    return internal_error("the pattern of the pre-tokenizer '{}' fails at {}: {}", rule.name, where,
                          pcre2_message(error));
  }
  // Where the library has no JIT for this machine, its interpreter gives the same pieces.
  code->compiled_to_machine = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  return PreTokenizer(std::move(code));
}

struct PieceCursor::Match {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  Match() = default;
  Match(const Match&) = delete;
  Match& operator=(const Match&) = delete;
  ~Match() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

PieceCursor::PieceCursor(const PreTokenizer& tokenizer)
    : tokenizer_(tokenizer), match_(std::make_unique<Match>()) {
  match_->data = pcre2_match_data_create(1, nullptr);
  match_->context = pcre2_match_context_create(nullptr);
  match_->stack = pcre2_jit_stack_create(std::size_t{32} << 10, kJitStackBytes, nullptr);
  ONEBEAT_CHECK(match_->data != nullptr && match_->context != nullptr && match_->stack != nullptr);
  pcre2_jit_stack_assign(match_->context, nullptr, match_->stack);
}

PieceCursor::~PieceCursor() = default;

void PieceCursor::start(std::string_view text) {
  text_ = text;
  at_ = 0;
  match_end_ = 0;
}

Status PieceCursor::next(std::string_view& piece) {
  if (at_ == text_.size()) {
    piece = {};
    return {};
  }
  if (match_end_ <= at_) {
    const auto& code = *tokenizer_.code_;
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
    const int found = code.compiled_to_machine
                          ? pcre2_jit_match(code.code, subject, text_.size(), at_, 0, match_->data,
                                            match_->context)
                          : pcre2_match(code.code, subject, text_.size(), at_, PCRE2_NO_UTF_CHECK,
                                        match_->data, match_->context);
    std::size_t begin = text_.size();
    match_end_ = text_.size();
    if (found > 0) {
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_->data);
      begin = range[0];
      match_end_ = range[1];
      ONEBEAT_CHECK(begin >= at_ && match_end_ > begin && match_end_ <= text_.size());
    } else if (found == PCRE2_ERROR_JIT_STACKLIMIT || found == PCRE2_ERROR_MATCHLIMIT ||
               found == PCRE2_ERROR_HEAPLIMIT || found == PCRE2_ERROR_NOMEMORY) {
      return resource_exhausted("cutting the text at byte {} needs too much memory: {}", at_,
                                pcre2_message(found));
    } else if (found != PCRE2_ERROR_NOMATCH) {
      return internal_error("cutting the text at byte {} failed: {}", at_, pcre2_message(found));
    }
    if (begin > at_) {  // What the pattern skipped.
      piece = text_.substr(at_, begin - at_);
      at_ = begin;
      return {};
    }
  }
  piece = text_.substr(at_, match_end_ - at_);
  at_ = match_end_;
  return {};
}

}  // namespace onebeat
