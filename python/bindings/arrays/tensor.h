// SPDX-License-Identifier: Apache-2.0
// Arrays of any framework as pointers, shapes and strides.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <string>

#include "arrays/dlpack_exchange.h"

namespace onebeat::python {

enum class Element : std::uint8_t { kF32, kF16, kBF16, kF8E4M3, kI32, kI64, kU32, kU8, kOther };

[[nodiscard]] const char* name_of(Element element);
[[nodiscard]] int bytes_of(Element element);

/// Device -1: host memory; else the CUDA device's number.
inline constexpr int kHost = -1;

/// An array that an argument of a call is. Borrows its memory for the call.
class Tensor {
 public:
  /// None.
  Tensor() = default;
  /// Takes torch, CuPy, JAX and NumPy arrays (all that have DLPack) of up to 4 dimensions. NumPy's
  /// uint16 and bfloat16 of ml_dtypes are bf16. `name` must outlive the tensor. Throws
  /// WrongTypeError with it.
  Tensor(nanobind::handle object, const char* name, bool writable = false);

  [[nodiscard]] bool empty() const { return !present_; }
  [[nodiscard]] const char* name() const { return name_; }
  [[nodiscard]] Element element() const { return element_; }
  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] int rank() const { return rank_; }
  /// Counted from the end for a negative axis.
  [[nodiscard]] std::int64_t size(int axis) const { return shape_[axis < 0 ? axis + rank_ : axis]; }
  [[nodiscard]] std::int64_t stride(int axis) const {
    return strides_[axis < 0 ? axis + rank_ : axis];
  }
  [[nodiscard]] std::int64_t elements() const;
  [[nodiscard]] bool contiguous() const;
  template <typename T>
  [[nodiscard]] T* data() const {
    return static_cast<T*>(data_);
  }
  /// "(2, 8, 128)"
  [[nodiscard]] std::string shape_text() const;

  /// The stream that the framework of the tensor works on now; nullptr (CUDA's default stream) for
  /// one that has no such notion.
  [[nodiscard]] void* current_stream() const;

  // Each throws the fitting exception that names the argument, what it is and what it must be.
  void require_rank(int rank) const;
  void require_size(int axis, std::int64_t size, const char* meaning) const;
  void require_element(Element element) const;
  void require_integers() const;
  void require_device(int device, const char* like) const;
  void require_contiguous() const;
  /// The innermost elements are adjacent.
  void require_dense_rows() const;

 private:
  bool from_exchange_api(nanobind::handle object);
  void from_dlpack(nanobind::handle object, bool writable);
  void take(const nanobind::dlpack::dltensor& tensor);

  static constexpr int kMaxRank = 4;
  const char* name_ = "";
  void* data_ = nullptr;
  std::int64_t shape_[kMaxRank] = {};
  std::int64_t strides_[kMaxRank] = {};
  int rank_ = 0;
  int device_ = kHost;
  Element element_ = Element::kOther;
  bool present_ = false;
  const DlpackExchangeApi* api_ = nullptr;
  nanobind::object object_;  // What __dlpack__ was called on, if it was.
  nanobind::ndarray<> array_;
  nanobind::ndarray<nanobind::ro> read_only_;
};

}  // namespace onebeat::python
