// SPDX-License-Identifier: Apache-2.0
// The alphabet in which byte-level BPE vocabularies spell bytes: one printable character for each
// of the 256.
#pragma once

#include <string>
#include <string_view>

namespace onebeat {

/// Appends the bytes that `spelled` stands for; false, and nothing appended, if it has a character
/// outside the alphabet.
bool append_unspelled(std::string_view spelled, std::string& bytes);

/// Appends `bytes` spelled in the alphabet.
void append_spelled(std::string_view bytes, std::string& spelled);

}  // namespace onebeat
