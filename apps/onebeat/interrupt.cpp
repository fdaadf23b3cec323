// SPDX-License-Identifier: Apache-2.0
// A signal handler can reach nothing but a global, hence those in this file.
#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace onebeat::cli {
namespace {

std::atomic<bool> interrupt_seen{false};
std::atomic<bool> end_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int signal) {
  if (signal == SIGTERM) end_asked.store(true);
  if (interrupt_seen.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  // No SA_RESTART: a read from the terminal returns, so that a prompt can end.
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return interrupt_seen.load(std::memory_order_relaxed);
}

bool terminated() {
  return end_asked.load(std::memory_order_relaxed);
}

void clear_interrupt() {
  interrupt_seen.store(false);
}

}  // namespace onebeat::cli
