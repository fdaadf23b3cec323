// SPDX-License-Identifier: Apache-2.0
#include "arrays/tensor.h"

#include <fmt/format.h>

#include <cstring>

#include "errors.h"

namespace nb = nanobind;

namespace onebeat::python {
namespace {

[[noreturn]] void wrong_type(const std::string& message) {
  raise_error("WrongTypeError", message);
}
[[noreturn]] void wrong_value(const std::string& message) {
  raise_error("InvalidArgumentError", message);
}

Element element_of(nb::dlpack::dtype type) {
  if (type.lanes != 1) return Element::kOther;
  constexpr std::uint8_t kFloat8E4m3fn = 10;  // DLPack 1.1
  switch (type.code) {
    case static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float):
      return type.bits == 32 ? Element::kF32 : type.bits == 16 ? Element::kF16 : Element::kOther;
    case static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat):
      return type.bits == 16 ? Element::kBF16 : Element::kOther;
    case kFloat8E4m3fn:
      return type.bits == 8 ? Element::kF8E4M3 : Element::kOther;
    case static_cast<std::uint8_t>(nb::dlpack::dtype_code::Int):
      return type.bits == 32 ? Element::kI32 : type.bits == 64 ? Element::kI64 : Element::kOther;
    case static_cast<std::uint8_t>(nb::dlpack::dtype_code::UInt):
      // NumPy has no bf16: its bits come as 16-bit integers.
      return type.bits == 16   ? Element::kBF16
             : type.bits == 32 ? Element::kU32
             : type.bits == 8  ? Element::kU8
                               : Element::kOther;
    default:
      return Element::kOther;
  }
}

/// The exchange functions of the object's type, or null. Types are remembered: a look-up costs more
/// than a call.
const DlpackExchangeApi* exchange_api_of(nb::handle object) {
  struct Known {
    PyTypeObject* type = nullptr;
    const DlpackExchangeApi* api = nullptr;
  };
  // Guarded by the interpreter's lock, as everything that touches Python objects.
  static thread_local Known known[4];
  static thread_local unsigned next = 0;
  PyTypeObject* const type = Py_TYPE(object.ptr());
  for (const Known& entry : known) {
    if (entry.type == type) return entry.api;
  }
  const DlpackExchangeApi* api = nullptr;
  PyObject* capsule =
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
  if (capsule != nullptr && PyCapsule_IsValid(capsule, "dlpack_exchange_api") != 0) {
    api =
        static_cast<const DlpackExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
    if (api != nullptr && (api->header.major != 1 || api->tensor_from_object == nullptr))
      api = nullptr;
  }
  Py_XDECREF(capsule);
  PyErr_Clear();
  Py_INCREF(reinterpret_cast<PyObject*>(type));  // So that its address stays its own.
  known[next++ % 4] = {type, api};
  return api;
}

/// Types of ml_dtypes that NumPy's arrays have and its DLPack lacks: the integers that hold their
/// bits, or null.
const char* bits_of_numpy_type(nb::handle object, Element& element) {
  if (!nb::hasattr(object, "__array_interface__") || !nb::hasattr(object, "dtype")) return nullptr;
  const nb::object name = nb::getattr(object.attr("dtype"), "name", nb::none());
  if (!nb::isinstance<nb::str>(name)) return nullptr;
  const std::string_view text = nb::str(name).c_str();
  if (text == "bfloat16") return element = Element::kBF16, "uint16";
  if (text == "float8_e4m3fn") return element = Element::kF8E4M3, "uint8";
  return nullptr;
}

/// The current stream of a framework without exchange functions, asked in Python.
void* stream_of_framework(nb::handle object, int device) {
  const std::string module = nb::str(object.type().attr("__module__")).c_str();
  nb::object number;
  if (module.rfind("torch", 0) == 0) {
    number = nb::module_::import_("torch").attr("cuda").attr("current_stream")(device).attr(
        "cuda_stream");
  } else if (module.rfind("cupy", 0) == 0) {
    number = nb::module_::import_("cupy").attr("cuda").attr("get_current_stream")().attr("ptr");
  } else {
    return nullptr;
  }
  return reinterpret_cast<void*>(nb::cast<std::uintptr_t>(number));
}

std::string python_type_of(nb::handle object) {
  return nb::str(object.type().attr("__name__")).c_str();
}

}  // namespace

const char* name_of(Element element) {
  switch (element) {
    case Element::kF32:
      return "float32";
    case Element::kF16:
      return "float16";
    case Element::kBF16:
      return "bfloat16";
    case Element::kF8E4M3:
      return "float8_e4m3";
    case Element::kI32:
      return "int32";
    case Element::kI64:
      return "int64";
    case Element::kU32:
      return "uint32";
    case Element::kU8:
      return "uint8";
    case Element::kOther:
      return "another type";
  }
  return "another type";
}

int bytes_of(Element element) {
  switch (element) {
    case Element::kI64:
      return 8;
    case Element::kF16:
    case Element::kBF16:
      return 2;
    case Element::kF8E4M3:
    case Element::kU8:
      return 1;
    default:
      return 4;
  }
}

Tensor::Tensor(nb::handle object, const char* name, bool writable) : name_(name) {
  if (object.is_none()) return;
  present_ = true;
  if (!from_exchange_api(object)) from_dlpack(object, writable);
}

bool Tensor::from_exchange_api(nb::handle object) {
  api_ = exchange_api_of(object);
  if (api_ == nullptr) return false;
  nb::dlpack::dltensor tensor{};
  if (api_->tensor_from_object(object.ptr(), &tensor) != 0) throw nb::python_error();
  take(tensor);
  return true;
}

void Tensor::from_dlpack(nb::handle object, bool writable) {
  Element of_ml_dtypes = Element::kOther;
  const char* const bits = bits_of_numpy_type(object, of_ml_dtypes);
  object_ = bits != nullptr ? nb::object(object.attr("view")(bits)) : nb::borrow(object);
  nb::dlpack::dltensor tensor{};
  const auto fill = [&](const auto& array) {
    tensor.data = const_cast<void*>(static_cast<const void*>(array.data()));
    tensor.device = {array.device_type(), array.device_id()};
    tensor.ndim = static_cast<std::int32_t>(array.ndim());
    tensor.dtype = array.dtype();
    tensor.shape = const_cast<std::int64_t*>(array.shape_ptr());
    tensor.strides = const_cast<std::int64_t*>(array.stride_ptr());
    take(tensor);
  };
  if (writable) {
    if (!nb::try_cast(object_, array_)) {
      wrong_type(fmt::format(
          "{} is a {}; it must be a writable array (NumPy, torch, CuPy: anything with DLPack)",
          name_, python_type_of(object)));
    }
    fill(array_);
  } else {
    if (!nb::try_cast(object_, read_only_)) {
      wrong_type(fmt::format(
          "{} is a {}; it must be an array (NumPy, torch, CuPy, JAX: anything with DLPack)", name_,
          python_type_of(object)));
    }
    fill(read_only_);
  }
  if (bits != nullptr) element_ = of_ml_dtypes;
}

void Tensor::take(const nb::dlpack::dltensor& tensor) {
  if (tensor.ndim > kMaxRank) {
    wrong_value(fmt::format("{} has {} dimensions; at most {}", name_, tensor.ndim, kMaxRank));
  }
  const auto device = static_cast<std::int32_t>(tensor.device.device_type);
  constexpr std::int32_t kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13;
  if (device == kCuda || device == kCudaManaged) {
    device_ = tensor.device.device_id;
  } else if (device == kCpu || device == kCudaHost) {
    device_ = kHost;
  } else {
    wrong_type(fmt::format(
        "{} is on a device of DLPack type {}; it must be in host memory or on a CUDA device", name_,
        device));
  }
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  rank_ = tensor.ndim;
  element_ = element_of(tensor.dtype);
  std::int64_t dense = 1;
  for (int axis = rank_ - 1; axis >= 0; --axis) {
    shape_[axis] = tensor.shape[axis];
    strides_[axis] = tensor.strides != nullptr ? tensor.strides[axis] : dense;
    dense *= shape_[axis];
  }
}

std::int64_t Tensor::elements() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= shape_[axis];
  return product;
}

bool Tensor::contiguous() const {
  std::int64_t dense = 1;
  for (int axis = rank_ - 1; axis >= 0; --axis) {
    if (shape_[axis] != 1 && strides_[axis] != dense) return false;
    dense *= shape_[axis];
  }
  return true;
}

std::string Tensor::shape_text() const {
  std::string text = "(";
  for (int axis = 0; axis < rank_; ++axis)
    text += fmt::format("{}{}", axis > 0 ? ", " : "", shape_[axis]);
  return text + (rank_ == 1 ? ",)" : ")");
}

void* Tensor::current_stream() const {
  if (device_ == kHost || empty()) return nullptr;
  if (api_ != nullptr) {
    void* stream = nullptr;
    constexpr std::int32_t kCuda = 2;
    if (api_->current_stream(kCuda, device_, &stream) != 0) throw nb::python_error();
    return stream;
  }
  return stream_of_framework(object_, device_);
}

void Tensor::require_rank(int rank) const {
  if (rank_ != rank) {
    wrong_value(
        fmt::format("{} has shape {}; it must have {} dimensions", name_, shape_text(), rank));
  }
}

void Tensor::require_size(int axis, std::int64_t wanted, const char* meaning) const {
  if (size(axis) != wanted) {
    wrong_value(fmt::format("{} has shape {}; dimension {} must be {}, {}", name_, shape_text(),
                            axis < 0 ? axis + rank_ : axis, wanted, meaning));
  }
}

void Tensor::require_element(Element element) const {
  if (element_ != element) {
    wrong_type(fmt::format("{} has elements of {}; they must be {}", name_, name_of(element_),
                           name_of(element)));
  }
}

void Tensor::require_integers() const {
  if (element_ != Element::kI32 && element_ != Element::kI64) {
    wrong_type(fmt::format("{} has elements of {}; they must be int32 or int64", name_,
                           name_of(element_)));
  }
}

void Tensor::require_device(int device, const char* like) const {
  if (device_ == device) return;
  const auto text = [](int number) {
    return number == kHost ? std::string("cpu") : fmt::format("cuda:{}", number);
  };
  wrong_value(fmt::format("{} is on {}; it must be on {}, as {} is", name_, text(device_),
                          text(device), like));
}

void Tensor::require_contiguous() const {
  if (!contiguous())
    wrong_value(fmt::format("{}, of shape {}, is not contiguous; it must be", name_, shape_text()));
}

void Tensor::require_dense_rows() const {
  if (rank_ > 0 && size(-1) > 1 && stride(-1) != 1) {
    wrong_value(fmt::format("{} has a stride of {} in its last dimension; it must be 1", name_,
                            stride(-1)));
  }
}

}  // namespace onebeat::python
