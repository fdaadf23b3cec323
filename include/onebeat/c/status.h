/* SPDX-License-Identifier: Apache-2.0 */
/* Versions, statuses and errors of the C ABI. Include onebeat/onebeat.h. */
#ifndef ONEBEAT_C_STATUS_H
#define ONEBEAT_C_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raised when a call or a struct changes so that old callers break; never by growth. */
#define ONEBEAT_ABI_VERSION 1u

/** ONEBEAT_ABI_VERSION of the library: compare it once with the header's. */
uint32_t onebeat_abi_version(void);
/** The library's version, such as "0.1.0". Static storage. */
const char* onebeat_version(void);
/** 1 if the library was built with its CUDA twins, else 0. */
int32_t onebeat_has_cuda(void);

/** How a call ended: one of the ONEBEAT_... codes below, the numbers of StatusCode (status.h). */
typedef int32_t onebeat_status;
enum {
  ONEBEAT_OK = 0,
  ONEBEAT_INVALID_ARGUMENT = 1,   /**< The caller passed something that can never work. */
  ONEBEAT_OUT_OF_RANGE = 2,       /**< A value is beyond a stated limit. */
  ONEBEAT_NOT_FOUND = 3,          /**< A file or an entry does not exist. */
  ONEBEAT_UNSUPPORTED = 4,        /**< Valid, but nothing in this library implements it. */
  ONEBEAT_RESOURCE_EXHAUSTED = 5, /**< Memory or places ran out; trying later may work. */
  ONEBEAT_PLAN_MISMATCH = 6, /**< A plan or tensors of another geometry, or a plan of old inputs. */
  ONEBEAT_DATA_LOSS = 7,     /**< The bytes of a plan are damaged. */
  ONEBEAT_UNAVAILABLE = 8,   /**< A device is missing. */
  ONEBEAT_DEVICE_LOST = 9,   /**< The device failed for good. */
  ONEBEAT_CANCELLED = 10,    /**< The caller asked to stop. */
  ONEBEAT_INTERNAL = 11      /**< A fault of Onebeat. */
};
/** "ok", "invalid_argument", ...; "unknown" for any other number. Static storage. */
const char* onebeat_status_name(onebeat_status status);

/** Where a call writes why it failed. A success sets ONEBEAT_OK and an empty message. */
typedef struct onebeat_error {
  uint32_t size;
  onebeat_status status;
  char message[504]; /**< UTF-8, ends with a NUL; cut if it is longer. */
} onebeat_error;
static inline onebeat_error onebeat_error_init(void) {
  onebeat_error error;
  memset(&error, 0, sizeof error);
  error.size = (uint32_t)sizeof error;
  return error;
}

#ifdef __cplusplus
}
#endif

#endif /* ONEBEAT_C_STATUS_H */
