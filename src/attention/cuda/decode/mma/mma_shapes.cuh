// SPDX-License-Identifier: Apache-2.0
// The shapes of mma kernels that are compiled, for each head size.
#pragma once

#include "attention/cuda/decode/mma/mma_pass.cuh"

namespace onebeat::cuda {

/// Heads of 64 are half as many bytes a token: granules of 32 tokens keep the bytes, and halve what
/// is done once a granule.
template <typename Element, int kRows, bool kSmallPages>
using Mma64 = MmaShape<Element, 64, 32, 4, 3, kRows, kSmallPages>;
template <typename Element, int kRows, bool kSmallPages>
using Mma128 = MmaShape<Element, 128, 16, 4, 3, kRows, kSmallPages>;
/// Fewer bytes a granule, more granules.
template <typename Element, int kRows, bool kSmallPages>
using Mma96 = MmaShape<Element, 96, 16, 4, 4, kRows, kSmallPages, 1,
                       kSmallPages ? RowFetch::kBlocks : RowFetch::kWholeLines>;
/// Two warps share tokens, so that granules, registers and shared memory are those of half the
/// size.
template <typename Element, int kRows, bool kSmallPages>
using Mma192 = MmaShape<Element, 192, 16, 4, 4, kRows, kSmallPages, 2,
                        kSmallPages ? RowFetch::kBlocks : RowFetch::kLinesToL2>;
template <typename Element, int kRows, bool kSmallPages>
using Mma256 = MmaShape<Element, 256, 16, 4, 3, kRows, kSmallPages, 2>;

/// fp8 is half the bytes: twice the tokens a granule, or twice the stages.
template <int kRows, bool kSmallPages>
using Mma64F8 = MmaShape<F8, 64, 32, 4, 6, kRows, kSmallPages>;
template <int kRows, bool kSmallPages>
using Mma128F8 = MmaShape<F8, 128, 32, 4, 3, kRows, kSmallPages>;

}  // namespace onebeat::cuda
