// SPDX-License-Identifier: Apache-2.0
// Chat templates against Jinja2. tools/make_chat_golden.py made the files: each line has a
// template, messages, further variables, and the text that Jinja2 writes, or the error that it
// raises.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "text/chat_template.h"
#include "text/jinja/values/printing.h"

namespace onebeat {
namespace {

using jinja::Value;

std::string golden_folder() {
  const char* root = std::getenv("ONEBEAT_SOURCE_DIR");
  return std::string(root == nullptr ? "." : root) + "/tests/golden/chat/";
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string member_json(jinja::Budget& budget, const Value& value, std::string_view name) {
  std::string out;
  EXPECT_TRUE(append_json(budget, *value.dict().find(name), {}, out).ok());
  return out;
}

// What the golden files were made with.
ChatOptions golden_options() {
  ChatOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  std::tm now = {};
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 26;
  now.tm_hour = 12;
  now.tm_min = 34;
  now.tm_sec = 56;
  now.tm_wday = 5;
  now.tm_yday = 207;
  options.now = now;
  return options;
}

void check_case(const std::string& line, const std::string& where) {
  jinja::Budget budget{jinja::Limits()};
  const auto read = jinja::read_json(budget, line);
  ASSERT_TRUE(read.ok()) << where << ": " << to_string(read.status());
  const jinja::Dict& golden = read->dict();
  const Value* file = golden.find("template");
  const std::string source =
      file != nullptr ? read_file(golden_folder() + file->text()) : golden.find("source")->text();

  ChatOptions options = golden_options();
  options.extra_json = member_json(budget, *read, "extra");
  options.add_generation_prompt = golden.find("add_generation_prompt")->truthy();
  const auto parsed = ChatTemplate::parse(source);
  const Result<std::string> text =
      parsed.ok() ? parsed->render_json(member_json(budget, *read, "messages"), options)
                  : Result<std::string>(parsed.status());
  const std::string shown = where + "\n" + source + "\n" + line.substr(0, 2000);
  if (const Value* expected = golden.find("text")) {
    EXPECT_EQ(text.ok() ? *text : to_string(text.status()), expected->text()) << shown;
  } else {
    EXPECT_FALSE(text.ok()) << (text.ok() ? *text : "")
                            << "\ninstead of the error: " << golden.find("error")->text() << "\n"
                            << shown;
  }
}

int check_file(const std::string& name) {
  std::ifstream file(golden_folder() + name);
  std::string line;
  int count = 0;
  while (std::getline(file, line)) {
    ++count;
    check_case(line, name + ":" + std::to_string(count));
  }
  return count;
}

TEST(ChatTemplateGolden, TemplatesOfModelsWriteWhatJinja2Writes) {
  EXPECT_GE(check_file("templates.jsonl"), 1800);
}

TEST(ChatTemplateGolden, RandomTemplatesWriteWhatJinja2Writes) {
  EXPECT_GE(check_file("random.jsonl"), 400);
}

}  // namespace
}  // namespace onebeat
