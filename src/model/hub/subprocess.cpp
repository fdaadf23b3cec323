// SPDX-License-Identifier: Apache-2.0
#include "model/hub/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>
#include <thread>

#include "base/error.h"

namespace onebeat {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(20);

/// The caller's environment with the program's entries in place of those of the same name.
std::vector<std::string> merged_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> merged = changes;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& change : changes)
      replaced |= std::string_view(change).starts_with(name);
    if (!replaced) merged.emplace_back(text);
  }
  return merged;
}

/// The null-terminated array of pointers that exec wants; borrows the strings.
std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

Result<pid_t> start(const Subprocess& program) {
  std::vector<std::string> arguments = program.arguments;
  std::vector<std::string> environment = merged_environment(program.environment);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, program.log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0].c_str(), &files, nullptr,
                                 pointers_to(arguments).data(), pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&files);
  if (error == ENOENT) return not_found("there is no program '{}' in PATH", arguments[0]);
  if (error != 0) return unavailable("cannot run '{}': {}", arguments[0], std::strerror(error));
  return child;
}

int wait_for(pid_t child, int options, int& state) {
  int waited = 0;
  do {
    waited = waitpid(child, &state, options);
  } while (waited < 0 && errno == EINTR);
  return waited;
}

}  // namespace

Result<int> run_subprocess(const Subprocess& program, const std::function<bool()>& keep_going) {
  ONEBEAT_ASSIGN_OR_RETURN(const pid_t child, start(program));
  int state = 0;
  while (wait_for(child, WNOHANG, state) == 0) {
    if (!keep_going()) {
      kill(child, SIGTERM);
      wait_for(child, 0, state);
      return Status(StatusCode::kCancelled, "stopped");
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

}  // namespace onebeat
