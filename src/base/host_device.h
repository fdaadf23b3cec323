// SPDX-License-Identifier: Apache-2.0
// ONEBEAT_HD marks constexpr functions that the host and the device share; to a host compiler it is
// nothing.
#pragma once

#ifdef __CUDACC__
#define ONEBEAT_HD __host__ __device__
#else
#define ONEBEAT_HD
#endif
