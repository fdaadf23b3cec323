// SPDX-License-Identifier: Apache-2.0
// Reader of the golden token ids in tests/golden/ (format: tools/make_tokenizer_golden.py). For
// tests only.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace onebeat::testing {

/// One line of a golden file.
struct GoldenIds {
  bool parse_special = false;
  std::string text;
  std::string written;  ///< The text as the file spells it, for messages.
  std::vector<std::int32_t> ids;
};

inline std::string golden_path(const std::string& name) {
  const char* root = std::getenv("ONEBEAT_SOURCE_DIR");
  return std::string(root != nullptr ? root : ".") + "/tests/golden/" + name;
}

/// Undoes "\xHH" and "\\".
inline std::string unescaped(std::string_view written) {
  std::string text;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\\') {
      text.push_back(written[i]);
    } else if (written.at(i + 1) == '\\') {
      text.push_back('\\');
      i += 1;
    } else {
      text.push_back(
          static_cast<char>(std::stoi(std::string(written.substr(i + 2, 2)), nullptr, 16)));
      i += 3;
    }
  }
  return text;
}

/// The lines of a golden file that are no comments, cut at tabs. Throws if the file cannot be read.
inline std::vector<std::vector<std::string>> golden_lines(const std::string& name) {
  std::ifstream file(golden_path(name), std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + golden_path(name));
  std::vector<std::vector<std::string>> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("# ")) continue;
    auto& fields = lines.emplace_back();
    std::size_t begin = 0;
    for (std::size_t tab = line.find('\t'); tab != std::string::npos;
         tab = line.find('\t', begin)) {
      fields.push_back(line.substr(begin, tab - begin));
      begin = tab + 1;
    }
    fields.push_back(line.substr(begin));
  }
  return lines;
}

inline std::vector<GoldenIds> golden_ids(const std::string& name) {
  std::vector<GoldenIds> all;
  for (const auto& fields : golden_lines(name)) {
    auto& golden = all.emplace_back();
    golden.parse_special = fields.at(0) == "special";
    golden.written = fields.at(1);
    golden.text = unescaped(fields.at(1));
    std::istringstream ids(fields.at(2));
    for (std::int32_t id = 0; ids >> id;) golden.ids.push_back(id);
  }
  return all;
}

}  // namespace onebeat::testing
