// SPDX-License-Identifier: Apache-2.0
#include "chat/conversation.h"

#include <gtest/gtest.h>

#include <string>

namespace onebeat::cli {
namespace {

/// The roles' first letters with the texts.
std::string shown(const Conversation& conversation) {
  std::string out;
  for (const ChatMessage& message : conversation.messages())
    out += message.role.substr(0, 1) + ":" + message.content + " ";
  return out;
}

Conversation three_turns(std::string system = {}) {
  Conversation conversation(std::move(system));
  for (const char* text : {"1", "2", "3"}) {
    conversation.add("user", text);
    conversation.add("assistant", text);
  }
  return conversation;
}

TEST(Conversation, ForgetsWholeExchangesAndKeepsTheSystemMessage) {
  Conversation conversation = three_turns("S");
  conversation.add("user", "4");
  EXPECT_TRUE(conversation.forget_oldest());
  EXPECT_EQ(shown(conversation), "s:S u:2 a:2 u:3 a:3 u:4 ");
  EXPECT_TRUE(conversation.forget_oldest() && conversation.forget_oldest());
  EXPECT_EQ(shown(conversation), "s:S u:4 ");
  EXPECT_FALSE(conversation.forget_oldest());
  EXPECT_EQ(conversation.turns(), 1u);
  EXPECT_FALSE(Conversation().forget_oldest());
  EXPECT_FALSE(Conversation("S").forget_oldest());
}

TEST(Conversation, ChangesTheSystemMessage) {
  Conversation conversation = three_turns();
  conversation.set_system("S");
  conversation.set_system("T");
  EXPECT_EQ(conversation.system(), "T");
  conversation.reset();
  EXPECT_EQ(shown(conversation), "s:T ");
  conversation.set_system("");
  EXPECT_EQ(shown(conversation), "");
  EXPECT_EQ(conversation.system(), "");
}

TEST(Conversation, TakesBackTheLastMessageOfARole) {
  Conversation conversation = three_turns();
  EXPECT_FALSE(conversation.take_back("user"));
  EXPECT_TRUE(conversation.take_back("assistant"));
  EXPECT_TRUE(conversation.take_back("user"));
  EXPECT_EQ(shown(conversation), "u:1 a:1 u:2 a:2 ");
  EXPECT_FALSE(Conversation().take_back("user"));
}

TEST(Conversation, IsReadAsItWasWritten) {
  Conversation conversation("be \"terse\"\n");
  conversation.add("user", "naïve \\ \t 日本");
  conversation.add("assistant", "");
  const auto read = Conversation::from_json(conversation.to_json(), "x.json");
  ASSERT_TRUE(read.ok()) << to_string(read.status());
  EXPECT_EQ(shown(*read), shown(conversation));
  EXPECT_EQ(Conversation::from_json(Conversation().to_json(), "x").value().turns(), 0u);
}

TEST(Conversation, SaysWhatIsWrongWithAFile) {
  const auto refused = [](std::string_view json) {
    const auto read = Conversation::from_json(json, "x.json");
    return read.ok() ? "" : read.status().message();
  };
  EXPECT_NE(refused("").find("x.json"), std::string::npos);
  EXPECT_NE(refused("{}").find("an object"), std::string::npos);
  EXPECT_NE(refused("[1]").find("x.json: message 1"), std::string::npos) << refused("[1]");
  EXPECT_NE(refused(R"([{"role": "user", "content": "a"}, {"role": "user"}])").find("message 2"),
            std::string::npos);
  EXPECT_NE(refused(R"([{"role": "user", "content": [1]}])").find("content"), std::string::npos);
}

}  // namespace
}  // namespace onebeat::cli
