// SPDX-License-Identifier: Apache-2.0
// One row of a materialised page table, copied from the page map.
#pragma once

#include "step/step_math.h"

namespace onebeat::step {

/// table[b, 0..columns) = pages of map row `row`. No table, nothing done.
void gather_page_row(const PageMapView& map, std::int64_t row, std::int64_t columns,
                     std::int32_t shift, const IntTable& table, std::int64_t b);

/// The same through the sliding-window translation.
void gather_window_page_row(const PageMapView& map, const WindowMapView& window, std::int64_t row,
                            std::int64_t columns, std::int32_t shift, const IntTable& table,
                            std::int64_t b);

}  // namespace onebeat::step
