// SPDX-License-Identifier: Apache-2.0
// Reader of the golden logits in tests/golden (tools/logits_oracle.py writes them). For tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ops/weight.h"

namespace onebeat::testing {

/// What is known of the logits at one position.
struct GoldenPosition {
  double mean = 0;  ///< Over the vocabulary.
  double rms = 0;
  std::vector<std::pair<std::int32_t, double>> logits;  ///< Some ids and theirs.
};

/// One prompt and its greedy continuation.
struct GoldenPrompt {
  std::string text;  ///< As JSON.
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> tokens;
  std::vector<double> margins;  ///< Largest logit minus the second, where each token was chosen.
  std::size_t first = 0;        ///< Positions before it have no record: a long prompt.
  std::vector<GoldenPosition> positions;  ///< Of the prompt, then of all tokens but the last.
};

template <typename T>
std::vector<T> read_numbers(std::istream& line) {
  std::vector<T> numbers;
  for (T number; line >> number;) numbers.push_back(number);
  return numbers;
}

inline GoldenPosition read_position(std::istream& line) {
  GoldenPosition position;
  std::string word;
  std::int32_t index = 0;
  line >> index >> word >> position.mean >> word >> position.rms >> word;
  for (std::int32_t id = 0; line >> id;) {
    char colon = 0;
    double logit = 0;
    line >> colon >> logit;
    position.logits.emplace_back(id, logit);
  }
  return position;
}

/// Throws if the file cannot be read or is not whole.
inline std::vector<GoldenPrompt> read_golden_logits(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<GoldenPrompt> prompts;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string kind;
    line >> kind;
    if (kind == "prompt") {
      int index = 0;
      line >> index;
      std::getline(line >> std::ws, prompts.emplace_back().text);
    } else if (kind == "ids") {
      prompts.back().ids = read_numbers<std::int32_t>(line);
    } else if (kind == "tokens") {
      prompts.back().tokens = read_numbers<std::int32_t>(line);
    } else if (kind == "margins") {
      prompts.back().margins = read_numbers<double>(line);
    } else if (kind == "from") {
      line >> prompts.back().first;
    } else if (kind == "pos") {
      prompts.back().positions.push_back(read_position(line));
    }
  }
  for (const GoldenPrompt& prompt : prompts) {
    const bool whole =
        !prompt.ids.empty() && prompt.tokens.size() == prompt.margins.size() &&
        prompt.first + prompt.positions.size() + 1 == prompt.ids.size() + prompt.tokens.size();
    if (!whole) throw std::runtime_error(path + ": prompt " + prompt.text + " is not whole");
  }
  return prompts;
}

/// Largest difference between the logits of a row and what is known of them.
inline double difference(ConstMatrix logits, std::int64_t row, const GoldenPosition& golden) {
  double worst = 0;
  for (const auto& [id, value] : golden.logits) {
    worst = std::max(worst, std::fabs(logits.row(row)[id] - value));
  }
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < logits.cols; ++i) {
    sum += logits.row(row)[i];
    squares += static_cast<double>(logits.row(row)[i]) * logits.row(row)[i];
  }
  const double count = static_cast<double>(logits.cols);
  worst = std::max(worst, std::fabs(sum / count - golden.mean));
  return std::max(worst, std::fabs(std::sqrt(squares / count) - golden.rms));
}

}  // namespace onebeat::testing
