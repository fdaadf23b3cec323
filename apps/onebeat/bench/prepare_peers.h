// SPDX-License-Identifier: Apache-2.0
// Stored figures of another implementation for the same tables: SGLang's fused metadata kernel
// (Triton), microseconds per call inside a CUDA graph on an H200, lengths and tables of int32,
// tables dense.
#pragma once

#include <cstdint>

namespace onebeat::cli {

struct PreparePeer {
  std::int32_t requests;
  std::int32_t context;
  std::int32_t page;
  bool window;
  double us;
};

inline constexpr PreparePeer kPreparePeers[] = {
    {1, 8192, 1, false, 1.550},       {8, 8192, 1, false, 1.916},
    {32, 8192, 1, false, 3.032},      {128, 8192, 1, false, 8.559},
    {512, 8192, 1, false, 30.251},    {1, 8192, 1, true, 1.826},
    {8, 8192, 1, true, 2.293},        {32, 8192, 1, true, 4.718},
    {128, 8192, 1, true, 13.763},     {512, 8192, 1, true, 61.029},
    {1, 131072, 1, false, 1.651},     {8, 131072, 1, false, 3.782},
    {32, 131072, 1, false, 12.677},   {128, 131072, 1, false, 58.240},
    {512, 131072, 1, false, 231.552}, {1, 131072, 1, true, 2.667},
    {8, 131072, 1, true, 9.391},      {32, 131072, 1, true, 35.477},
    {128, 131072, 1, true, 131.888},  {512, 131072, 1, true, 517.461},
    {1, 8192, 16, false, 1.562},      {8, 8192, 16, false, 1.954},
    {32, 8192, 16, false, 3.222},     {128, 8192, 16, false, 8.390},
    {512, 8192, 16, false, 29.181},   {1, 8192, 16, true, 1.805},
    {8, 8192, 16, true, 2.222},       {32, 8192, 16, true, 3.462},
    {128, 8192, 16, true, 8.872},     {512, 8192, 16, true, 31.110},
    {1, 131072, 16, false, 1.649},    {8, 131072, 16, false, 1.970},
    {32, 131072, 16, false, 3.910},   {128, 131072, 16, false, 24.778},
    {512, 131072, 16, false, 97.451}, {1, 131072, 16, true, 1.885},
    {8, 131072, 16, true, 2.527},     {32, 131072, 16, true, 5.889},
    {128, 131072, 16, true, 29.142},  {512, 131072, 16, true, 103.499},
    {1, 8192, 64, false, 1.659},      {8, 8192, 64, false, 2.005},
    {32, 8192, 64, false, 3.339},     {128, 8192, 64, false, 8.558},
    {512, 8192, 64, false, 28.810},   {1, 8192, 64, true, 1.905},
    {8, 8192, 64, true, 2.218},       {32, 8192, 64, true, 3.562},
    {128, 8192, 64, true, 8.766},     {512, 8192, 64, true, 29.306},
    {1, 131072, 64, false, 1.637},    {8, 131072, 64, false, 2.088},
    {32, 131072, 64, false, 3.606},   {128, 131072, 64, false, 9.992},
    {512, 131072, 64, false, 64.111}, {1, 131072, 64, true, 1.867},
    {8, 131072, 64, true, 2.309},     {32, 131072, 64, true, 4.090},
    {128, 131072, 64, true, 13.255},  {512, 131072, 64, true, 66.234},
};

/// One form of the isolated case: 32 requests, pages of one token, context 8,192.
struct IsolatedPeer {
  const char* form;
  int kernels;
  double graph_us;       ///< A call inside a CUDA graph.
  double eager_call_us;  ///< A call from Python, until it returns.
};

inline constexpr IsolatedPeer kIsolatedPeers[] = {
    {"unfused PyTorch", 8, 18.408, 69.15},
    {"fused Triton", 1, 3.032, 16.29},
};

}  // namespace onebeat::cli
