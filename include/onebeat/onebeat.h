/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The C ABI of Onebeat: plans of decode steps, step preparation and paged attention for engines
 * that are not written in C++. It mirrors plan.h, step.h and attention.h, which say more about each
 * field; letters (B, T, H, G, D, P, N, W) are those of docs/glossary.md.
 *
 * Structs. Those that begin with `size` may grow at their end in later versions. Make them with
 * their onebeat_..._init() function, which sets `size` and the defaults. A library that is older
 * than the caller's header takes a longer struct as long as what it does not know is zero, and
 * answers ONEBEAT_UNSUPPORTED otherwise. Structs without `size` never change.
 *
 * Errors. Every call that can fail returns a status and, if `error` is not null, writes the message
 * there. On a failure nothing was written or enqueued unless the call says otherwise. A handle of
 * another kind is refused; a destroyed handle must not be used.
 *
 * Ownership. Handles belong to the caller until their destroy function, which takes null. All other
 * memory is borrowed: for the duration of the call on a CPU, until the enqueued work is done on a
 * GPU.
 *
 * Devices. A planner and an attention belong to the device that they were created for: ONEBEAT_CPU
 * or the number of a CUDA device. Of a CPU's, all pointers are host memory, calls return when the
 * work is done and `stream` is not looked at. Of a CUDA device's, pointers to data are device
 * memory (the structs themselves are not), calls enqueue on `stream` (a cudaStream_t of that
 * device) and return at once; the thread's current device is the same after every call. A library
 * without CUDA answers ONEBEAT_UNSUPPORTED.
 *
 * Run calls (prepare, decode, prefill, append) on a CUDA device allocate and synchronise nothing
 * and may be captured in a graph. On a CPU they allocate nothing either, but that the first calls
 * with a new geometry reserve working memory of the threads.
 *
 * Threads. All handles may be used from many threads at once, but for a planner's prepare calls on
 * a CPU, which are one at a time, and a thread pool, which does one call at a time and refuses a
 * second (ONEBEAT_RESOURCE_EXHAUSTED). Any number of planners, attentions and devices may live in
 * one process.
 */
#ifndef ONEBEAT_ONEBEAT_H
#define ONEBEAT_ONEBEAT_H

#include "onebeat/c/attention.h"
#include "onebeat/c/geometry.h"
#include "onebeat/c/planner.h"
#include "onebeat/c/status.h"
#include "onebeat/c/step.h"

#endif /* ONEBEAT_ONEBEAT_H */
