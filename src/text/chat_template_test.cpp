// SPDX-License-Identifier: Apache-2.0
// Chat templates: what a hostile template cannot do, what is refused and how it is named.
#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace onebeat {
namespace {

using testing::HasSubstr;

const std::vector<ChatMessage> kMessages = {{"user", "Hi"}, {"assistant", "Hello."}};

Result<std::string> render(std::string_view source, const ChatOptions& options = {}) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(kMessages, options);
}

std::string repeat(std::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

void expect_error(std::string_view source, StatusCode code, std::string_view part,
                  const ChatOptions& options = {}) {
  const auto text = render(source, options);
  ASSERT_FALSE(text.ok()) << source.substr(0, 200);
  EXPECT_EQ(text.status().code(), code) << to_string(text.status());
  EXPECT_THAT(text.status().message(), HasSubstr(std::string(part)));
}

TEST(ChatTemplate, WritesMessagesAndVariables) {
  ChatOptions options;
  options.bos_token = "<s>";
  options.extra_json = R"({"tone": "dry", "bos_token": "<b>"})";
  const auto text = render(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}"
      "{{ tone }}{% if tools %}!{% endif %}{% if add_generation_prompt %} >{% endif %}",
      options);
  ASSERT_TRUE(text.ok()) << to_string(text.status());
  EXPECT_EQ(*text, "<b>user: Hi\nassistant: Hello.\ndry >");
}

TEST(ChatTemplate, ContentIsNeverParsedAsTemplate) {
  const auto parsed = ChatTemplate::parse("{{ messages[0].content }}");
  ASSERT_TRUE(parsed.ok());
  const std::vector<ChatMessage> messages = {{"user", "{{ 1 + 1 }}{% for %}"}};
  const auto text = parsed->render(messages, {});
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "{{ 1 + 1 }}{% for %}");
}

TEST(ChatTemplate, RefusalOfTheTemplateIsItsMessage) {
  expect_error("a\n{{ raise_exception('no ' ~ messages[0].role) }}", StatusCode::kInvalidArgument,
               "line 2: the template refuses these messages: no user");
}

TEST(ChatTemplate, TimeIsWhatTheCallerSays) {
  ChatOptions options;
  std::tm now = {};
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 26;
  options.now = now;
  const auto text = render("{{ strftime_now('%d %b %Y') }}", options);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "26 Jul 2024");
  expect_error("{{ strftime_now('%999d') }}", StatusCode::kUnsupported, "time format");
}

TEST(ChatTemplate, UnsupportedConstructsAreNamedWithTheirLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"\n{% include 'x' %}", "line 2: the block 'include'"},
      {"\n\n{% call x() %}{% endcall %}", "line 3: the block 'call'"},
      {"{{ x | nosuch }}", "line 1: the filter 'nosuch'"},
      {"{{ x is nosuch }}", "line 1: the test 'nosuch'"},
      {"{{ 2 ** 3 }}", "line 1: the operator '**'"},
      {"{{ 'a'.format(1) }}", "line 1: the method 'format' of a string"},
      {"{{ 'a %s' % 1 }}", "formatting a string with '%'"},
      {"{{ messages.append(1) }}", "the method 'append' of a list"},
      {"{% for x in messages recursive %}{% endfor %}", "'for ... recursive'"},
      {"{% for x in messages %}{{ loop.cycle(1) }}{% endfor %}", "'loop.cycle'"},
      {"{% for x in messages %}{% set y = loop %}{% endfor %}", "'loop'"},
      {"{{ f(*x) }}", "'*' before an argument"},
      {"{{ cycler(1) }}", "'cycler'"},
      {"{{ {1: 2} }}", "the key of a dict"},
      {"{{ namespace() }}", "a namespace cannot be printed"},
  };
  for (const auto& [source, part] : cases) expect_error(source, StatusCode::kUnsupported, part);
}

TEST(ChatTemplate, WrongSyntaxIsRefusedWithItsLine) {
  for (const char* source :
       {"\n{{", "\n{{ 1 +", "\n{% if x %}", "\n{% for x %}{% endfor %}", "\n{% endif %}",
        "\n{{ (1 }}", "\n{{ 'abc }}", "\n{# x", "\n{{ 1 $ 2 }}", "\n{% nosuch %}", "\n{{ }}",
        "\n{% raw %}", "\n{% set %}", "\n{{ 99999999999999999999 }}", "\n{% break %}",
        "\n{% if x %}{% else %}{% elif y %}{% endif %}", "\n{{ '\\ud800' }}"}) {
    expect_error(source, StatusCode::kInvalidArgument, "line 2");
  }
}

TEST(ChatTemplate, NestingOfTheSourceIsLimited) {
  constexpr int kDeep = 60'000;
  for (const std::string& source :
       {"{{ " + repeat("(", kDeep) + "1" + repeat(")", kDeep) + " }}",
        "{{ " + repeat("[", kDeep) + repeat("]", kDeep) + " }}",
        "{{ " + repeat("not ", kDeep) + "1 }}", "{{ " + repeat("- ", kDeep) + "1 }}",
        "{{ 1" + repeat("+1", kDeep) + " }}", "{{ x" + repeat(".x", kDeep) + " }}",
        "{{ x" + repeat("|trim", kDeep) + " }}", "{{ x" + repeat("[0]", kDeep) + " }}",
        "{{ " + repeat("x(", kDeep) + repeat(")", kDeep) + " }}",
        "{{ " + repeat("1 if 1 else ", kDeep) + "1 }}",
        repeat("{% if 1 %}", kDeep / 2) + repeat("{% endif %}", kDeep / 2)}) {
    expect_error(source, StatusCode::kOutOfRange, "line 1");
  }
}

TEST(ChatTemplate, LongFlatSourcesAreFine) {
  constexpr int kLong = 20'000;
  for (const std::string& source :
       {"{{ 1" + repeat("~1", kLong) + " }}", "{{ 1" + repeat(" and 1", kLong) + " }}",
        "{{ [" + repeat("1,", kLong) + "]|length }}", repeat("{{ 1 }}", kLong),
        "{% if 0 %}" + repeat("{% elif 0 %}", kLong) + "{% endif %}"}) {
    EXPECT_TRUE(render(source).ok()) << source.substr(0, 40);
  }
}

TEST(ChatTemplate, SizeOfTheSourceIsLimited) {
  expect_error(std::string((1 << 20) + 1, 'x'), StatusCode::kOutOfRange, "1048577 bytes");
}

TEST(ChatTemplate, StepsAreLimited) {
  ChatOptions options;
  options.limits.max_steps = 100'000;
  const std::string loops = repeat("{% for a in range(1000) %}", 5) + repeat("{% endfor %}", 5);
  expect_error(loops, StatusCode::kResourceExhausted, "more than 100000 steps", options);
  expect_error("{% set s = 'ab' * 100000 %}" + repeat("{{ s.replace('b', '') and '' }}", 500),
               StatusCode::kResourceExhausted, "steps", options);
  // A walk over a value that shares its parts: 2^60 leaves.
  const std::string doubled =
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  for (const char* walk : {"{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == [ns.x] + ns.x }}",
                           "{% set y = ns.x %}{% set z = [ns.x[0], ns.x[1]] %}{{ y == z }}"}) {
    const auto text = render(doubled + walk, options);
    if (text.ok()) continue;  // Unequal at the first look.
    EXPECT_EQ(text.status().code(), StatusCode::kResourceExhausted) << walk;
  }
  expect_error(doubled + "{{ ns.x|tojson }}", StatusCode::kResourceExhausted, "steps", options);
}

TEST(ChatTemplate, OutputIsLimited) {
  ChatOptions options;
  options.limits.max_output_bytes = 1000;
  expect_error("{% for a in range(500) %}abc{% endfor %}", StatusCode::kResourceExhausted,
               "writes more than 1000 bytes", options);
  // What is captured counts too.
  expect_error("{% set x %}{% for a in range(500) %}abc{% endfor %}{% endset %}",
               StatusCode::kResourceExhausted, "writes more than 1000 bytes", options);
}

TEST(ChatTemplate, ValuesAreLimited) {
  ChatOptions options;
  options.limits.max_text_bytes = 10'000;
  options.limits.max_elements = 1'000;
  options.limits.max_memory_bytes = 1'000'000;
  for (const char* source :
       {"{{ ('a' * 20000)|length }}", "{{ 'a' * 9223372036854775807 }}",
        "{% set x = 'a' * 9000 %}{{ x ~ x }}", "{% set x = 'a' * 9000 %}{{ x + x }}",
        "{% set x = 'a' * 9000 %}{{ x.replace('a', 'bb') }}",
        "{% set x = 'a' * 9000 %}{{ [x, x]|join }}", "{% set x = 'a' * 900 %}{{ x.join(x) }}"}) {
    expect_error(source, StatusCode::kResourceExhausted, "a string of", options);
  }
  for (const char* source :
       {"{{ [1] * 2000 }}", "{{ [1] * 9223372036854775807 }}", "{{ range(2000) }}",
        "{{ ('a' * 2000)|list }}", "{{ ('a,' * 2000).split(',') }}"}) {
    expect_error(source, StatusCode::kResourceExhausted, "elements", options);
  }
  expect_error("{{ range(1000000) }}", StatusCode::kResourceExhausted, "100000 numbers");
  expect_error(
      "{% set ns = namespace(a='') %}{% for i in range(900) %}"
      "{% set ns.a = [ns.a, 'b' * 5000] %}{% endfor %}",
      StatusCode::kResourceExhausted, "", options);
  expect_error(
      "{% set ns = namespace(x=1) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}"
      "{% endfor %}",
      StatusCode::kResourceExhausted, "nests a value more than 64 deep");
  expect_error("{% for i in range(20000) %}{% set x = namespace() %}{% endfor %}",
               StatusCode::kResourceExhausted, "namespaces");
}

TEST(ChatTemplate, MemoryOfValuesThatAreGoneIsFreeAgain) {
  ChatOptions options;
  options.limits.max_memory_bytes = 100'000;
  const auto text =
      render("{% for i in range(300) %}{% set x = 'a' * 5000 %}{% endfor %}ok", options);
  ASSERT_TRUE(text.ok()) << to_string(text.status());
  EXPECT_EQ(*text, "ok");
}

TEST(ChatTemplate, RecursionOfMacrosIsLimited) {
  expect_error("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", StatusCode::kResourceExhausted,
               "deep");
}

TEST(ChatTemplate, NamespacesInCyclesAreHarmless) {
  const auto text = render(
      "{% set a = namespace() %}{% set a.a = a %}{% set a.b = [a] %}"
      "{{ a.a.a.b[0].a is defined }}");
  ASSERT_TRUE(text.ok()) << to_string(text.status());
  EXPECT_EQ(*text, "True");
}

TEST(ChatTemplate, HasNoWayOutOfItsContext) {
  for (const char* source :
       {"{{ ''.__class__.__mro__ }}", "{{ messages.__class__.__init__ }}",
        "{{ self.__init__.__globals__ }}", "{{ namespace.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['os'] }}"}) {
    EXPECT_FALSE(render(source).ok()) << source;
  }
  const auto text = render("{{ ''.__class__ }}|{{ messages['__class__'] }}");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "|");
}

TEST(ChatTemplate, ErrorsOfEvaluationHaveTheirLine) {
  for (const char* source :
       {"\n{{ missing.x }}", "\n{{ 1 + 'a' }}", "\n{{ none + 1 }}", "\n{{ 1 // 0 }}",
        "\n{{ missing() }}", "\n{{ 'a'() }}", "\n{% for x in 5 %}{% endfor %}", "\n{{ 'a' < 1 }}",
        "\n{% set a, b = [1] %}", "\n{% set x.y = 1 %}", "\n{{ none[1:] }}", "\n{{ 'a'[::0] }}",
        "\n{{ none|length }}", "\n{{ 'a'|trim(1, 2, 3) }}", "\n{{ 'a'|default(nosuch=1) }}"}) {
    expect_error(source, StatusCode::kInvalidArgument, "line 2");
  }
  expect_error("\n{{ 9223372036854775807 + 1 }}", StatusCode::kOutOfRange, "line 2");
}

TEST(ChatTemplate, MessagesInJsonAreChecked) {
  const auto parsed = ChatTemplate::parse("{{ messages|length }}");
  ASSERT_TRUE(parsed.ok());
  const auto text = parsed->render_json(R"([{"role": "user", "content": "\ud83d\ude00"}])", {});
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "1");
  for (const char* json :
       {"", "{}", "[1]", "[{]", "[{}", "[{}]x", "[{\"a\" 1}]", "[{\"a\": \"\\x\"}]",
        "[{\"a\": \"\\ud800\"}]", "[{\"a\": 1e999}]", "[{\"a\": tru}]"}) {
    EXPECT_FALSE(parsed->render_json(json, {}).ok()) << json;
  }
  EXPECT_FALSE(parsed->render_json("[" + repeat("[", 60'000), {}).ok());
}

}  // namespace
}  // namespace onebeat
