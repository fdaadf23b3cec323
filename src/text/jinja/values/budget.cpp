// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/values/budget.h"

#include "base/error.h"

namespace onebeat::jinja {

Status Budget::spend(std::size_t bytes) {
  const std::uint64_t steps = 1 + bytes / 64;
  if (steps > steps_left_) {
    steps_left_ = 0;
    return resource_exhausted("the template takes more than {} steps", limits_.max_steps);
  }
  steps_left_ -= steps;
  return {};
}

Status Budget::allow_memory(std::size_t bytes) const {
  if (bytes > limits_.max_memory_bytes || ledger_->bytes() > limits_.max_memory_bytes - bytes) {
    return resource_exhausted("the template's values need more than {} bytes",
                              limits_.max_memory_bytes);
  }
  return {};
}

Status Budget::check_text(std::size_t bytes) const {
  if (bytes <= limits_.max_text_bytes) return {};
  return resource_exhausted("the template makes a string of {} bytes; the limit is {}", bytes,
                            limits_.max_text_bytes);
}

Status Budget::allow_text(std::size_t bytes) {
  ONEBEAT_RETURN_IF_ERROR(check_text(bytes));
  ONEBEAT_RETURN_IF_ERROR(spend(bytes));
  return allow_memory(bytes);
}

Status Budget::allow_elements(std::size_t elements) {
  if (elements > limits_.max_elements) {
    return resource_exhausted("the template makes a list or dict of {} elements; the limit is {}",
                              elements, limits_.max_elements);
  }
  return allow_memory(elements * 64);
}

Status Budget::keep(std::size_t bytes) {
  ONEBEAT_RETURN_IF_ERROR(allow_memory(bytes));
  ledger_->add(bytes);
  return {};
}

Status Budget::allow_output(std::size_t bytes) const {
  if (bytes > limits_.max_output_bytes) {
    return resource_exhausted("the template writes more than {} bytes", limits_.max_output_bytes);
  }
  return {};
}

}  // namespace onebeat::jinja
