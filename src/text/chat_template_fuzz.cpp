// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: no template and no messages may crash, hang or go beyond the limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Up to a zero byte the template, behind it messages in JSON, if there are any.
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t border = input.find('\0');
  const auto parsed = onebeat::ChatTemplate::parse(input.substr(0, border));
  if (!parsed.ok()) return 0;
  onebeat::ChatOptions options;
  options.now = std::tm{};
  options.bos_token = "<s>";
  options.limits.max_steps = 200'000;
  options.limits.max_output_bytes = 100'000;
  options.limits.max_text_bytes = 100'000;
  options.limits.max_elements = 10'000;
  options.limits.max_memory_bytes = 10'000'000;
  options.extra_json = R"({"text": "aXbX", "n": 3, "record": {"a": [1, {"b": null}], "c": 2.5}})";
  const std::string_view messages =
      border == std::string_view::npos
          ? R"([{"role": "system", "content": "s"}, {"role": "user", "content": " u "}])"
          : input.substr(border + 1);
  const auto text = parsed->render_json(messages, options);
  if (text.ok() && text->size() > options.limits.max_output_bytes) __builtin_trap();
  return 0;
}
