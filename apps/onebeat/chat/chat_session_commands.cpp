// SPDX-License-Identifier: Apache-2.0
// The lines of a chat that begin with a slash.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "chat/chat_session.h"
#include "input.h"
#include "output.h"
#include "terminal_text.h"

namespace onebeat::cli {
namespace {

constexpr const char* kHelp =
    "/help          shows this\n"
    "/system TEXT   changes the system message; without TEXT shows it\n"
    "/reset         forgets the conversation\n"
    "/retry         replies to the last message once more\n"
    "/think on|off  asks models that know both to think first, or not to\n"
    "/stats         tokens and speed after each reply, or no longer\n"
    "/save FILE     writes the conversation as JSON\n"
    "/load FILE     goes on with a conversation that was saved\n"
    "/exit          ends, as the end of input (Ctrl-D) does\n"
    "//text         a message that begins with a slash\n"
    "Ctrl-C         stops a reply\n"
    "In a terminal: arrows up and down bring back earlier messages, Alt-Enter begins a new line,\n"
    "and what is pasted is sent by Enter alone.\n";

}  // namespace

Status ChatSession::obey(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r";
  line = line.substr(0, line.find_last_not_of(kSpace) + 1);
  const std::string_view name = line.substr(0, line.find_first_of(kSpace));
  const std::size_t begin = line.find_first_not_of(kSpace, name.size());
  const std::string_view rest =
      begin == std::string_view::npos ? std::string_view() : line.substr(begin);

  if (name == "/system") return change_system(rest);
  if (name == "/think") return think(rest);
  if (name == "/save") return save(rest);
  if (name == "/load") return load(rest);
  if (rest.empty() && name == "/retry") return retry();
  if (rest.empty() && name == "/help") {
    std::fputs(kHelp, stdout);
  } else if (rest.empty() && name == "/reset") {
    conversation_.reset();
    note("forgotten");
  } else if (rest.empty() && name == "/stats") {
    settings_.stats = !settings_.stats;
    note(settings_.stats ? "tokens and speed are shown" : "tokens and speed are not shown");
  } else {
    // No failure: the lines of a pipe that come behind it may still be of use.
    fmt::print(stderr, "chat: there is no command {}; /help lists them\n", line);
  }
  std::fflush(stdout);
  return {};
}

Status ChatSession::change_system(std::string_view text) {
  if (text.empty()) {
    const std::string_view now = conversation_.system();
    fmt::print("{}\n", now.empty() ? "there is none" : without_controls(now));
    std::fflush(stdout);
    return {};
  }
  conversation_.set_system(std::string(text));
  note("the system message is changed; /reset forgets what was said under the one before");
  return {};
}

Status ChatSession::retry() {
  const Conversation before = conversation_;
  conversation_.take_back("assistant");
  if (conversation_.turns() == 0) {
    conversation_ = before;
    return invalid_argument("/retry: there is no message to reply to");
  }
  const Result<bool> replied = reply();
  if (!replied.ok() || !*replied) conversation_ = before;
  return replied.status();
}

Status ChatSession::think(std::string_view choice) {
  if (choice != "on" && choice != "off")
    return invalid_argument("/think takes on or off, not \"{}\"", choice);
  prompt_.set_thinking(choice == "on");
  note("what it does is up to the model's chat template");
  return {};
}

Status ChatSession::save(std::string_view path) {
  if (path.empty()) return invalid_argument("/save takes the name of a file");
  std::error_code ignored;
  if (path != own_file_ && std::filesystem::exists(path, ignored)) {
    return invalid_argument("/save: {} is there already; choose another name", path);
  }
  ONEBEAT_RETURN_IF_ERROR(write_output(std::string(path), conversation_.to_json()));
  own_file_ = path;
  note(fmt::format("{} messages written to {}", conversation_.messages().size(), path));
  return {};
}

Status ChatSession::load(std::string_view path) {
  if (path.empty()) return invalid_argument("/load takes the name of a file");
  ONEBEAT_ASSIGN_OR_RETURN(const std::string json, read_input(std::string(path)));
  ONEBEAT_ASSIGN_OR_RETURN(conversation_, Conversation::from_json(json, path));
  own_file_ = path;
  note(fmt::format("{} messages", conversation_.messages().size()));
  return {};
}

}  // namespace onebeat::cli
