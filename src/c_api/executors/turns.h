// SPDX-License-Identifier: Apache-2.0
// What takes one caller at a time: a second one is told so instead of waiting or breaking it.
#pragma once

#include <atomic>

namespace onebeat::c_api {

class Turns {
 public:
  /// One caller's turn, from its creation to its end.
  class Turn {
   public:
    explicit Turn(Turns& turns) : turns_(turns), taken_(!turns.busy_.exchange(true)) {}
    ~Turn() {
      if (taken_) turns_.busy_.store(false);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    /// Whether nobody else was there.
    [[nodiscard]] bool taken() const { return taken_; }

   private:
    Turns& turns_;
    bool taken_;
  };

 private:
  std::atomic<bool> busy_{false};
};

}  // namespace onebeat::c_api
