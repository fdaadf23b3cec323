// SPDX-License-Identifier: Apache-2.0
#include "model/hub/hf_reference.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/error.h"
#include "base/quoted.h"

namespace onebeat {
namespace {

constexpr std::string_view kScheme = "hf:";
constexpr std::size_t kLongestPart = 200;

/// Such a part means the same in a URL and in a path, and leaves no folder.
bool is_plain(std::string_view part) {
  constexpr std::string_view kOthers = "._-+=";
  return !part.empty() && part.size() <= kLongestPart && part.front() != '.' &&
         std::all_of(part.begin(), part.end(), [&](unsigned char c) {
           return (c < 128 && std::isalnum(c) != 0) ||
                  kOthers.find(static_cast<char>(c)) != std::string_view::npos;
         });
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(text.find('/', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return parts;
    begin = end + 1;
  }
}

}  // namespace

std::string HfReference::name() const {
  std::string text(kScheme);
  text += owner + "/" + repo;
  if (!file.empty()) text += "/" + file;
  return text;
}

std::filesystem::path HfReference::path_below(const std::filesystem::path& models) const {
  const std::filesystem::path folder = models / "hf" / owner / repo;
  return file.empty() ? folder : folder / file;
}

bool is_hf_reference(std::string_view name) {
  return name.starts_with(kScheme);
}

Result<HfReference> parse_hf_reference(std::string_view name) {
  const std::vector<std::string_view> parts =
      split(is_hf_reference(name) ? name.substr(kScheme.size()) : std::string_view());
  if (parts.size() < 2 || !std::all_of(parts.begin(), parts.end(), is_plain)) {
    return invalid_argument(
        "{} is not hf:OWNER/REPO/FILE; its parts have letters, digits and ._-+= and do not begin "
        "with a dot",
        quoted(name));
  }
  HfReference reference = {std::string(parts[0]), std::string(parts[1]), {}};
  for (std::size_t i = 2; i < parts.size(); ++i) {
    if (i > 2) reference.file += '/';
    reference.file += parts[i];
  }
  return reference;
}

}  // namespace onebeat
