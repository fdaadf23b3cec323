// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM as a flag that long work asks for between its steps.
#pragma once

namespace onebeat::cli {

/// From here on the first signal only raises the flag; a second one before clear_interrupt() ends
/// the program.
void catch_interrupts();

/// Whether a signal came since catch_interrupts() or the last clear_interrupt(). Cheap; callable
/// from any thread.
[[nodiscard]] bool interrupted();

/// Whether one of these signals was SIGTERM, after which a program does not go on.
[[nodiscard]] bool terminated();

/// Forgets the signal: the interrupted work has stopped and the program goes on (a chat after a
/// stopped reply).
void clear_interrupt();

}  // namespace onebeat::cli
