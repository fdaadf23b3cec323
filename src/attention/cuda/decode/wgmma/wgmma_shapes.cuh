// SPDX-License-Identifier: Apache-2.0
// The shapes of wgmma kernels that are compiled, for each head size.
#pragma once

#include "attention/cuda/decode/wgmma/decode_wgmma.cuh"

namespace onebeat::cuda {

template <typename Element, bool kSmallPages>
using Wgmma64 = WgmmaShape<Element, 64, 128, 3, kSmallPages>;
template <typename Element, bool kSmallPages>
using Wgmma128 = WgmmaShape<Element, 128, 64, 3, kSmallPages>;
template <typename Element, bool kSmallPages>
using Wgmma96 = WgmmaShape<Element, 96, 64, 3, kSmallPages>;
template <typename Element, bool kSmallPages>
using Wgmma192 = WgmmaShape<Element, 192, 32, 3, kSmallPages>;
template <typename Element, bool kSmallPages>
using Wgmma256 = WgmmaShape<Element, 256, 32, 2, kSmallPages>;

}  // namespace onebeat::cuda
