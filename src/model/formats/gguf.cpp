// SPDX-License-Identifier: Apache-2.0
// The parser runs once over the header, in the order of the file. Invariants:
// 1. No count, length or product of the file is used before it has been compared with the bytes
// that are left.
// 2. Memory taken is bounded by the limits below and by a small multiple of the file's own header.
// 3. After success every view lies inside the file, so that readers of values and tensors need no
// checks of bounds.
#include "model/formats/gguf.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace onebeat {
namespace {

constexpr std::uint64_t kMaxEntries = 1 << 16;
constexpr std::uint64_t kMaxTensors = 1 << 20;
constexpr std::uint64_t kMaxKeyBytes = (1 << 16) - 1;  // The format's own limit.
constexpr std::uint32_t kMaxDimensions = 4;            // The format's own limit.
constexpr int kMaxArrayDepth = 4;
constexpr std::uint32_t kDefaultAlignment = 32;
constexpr std::uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;  // key, type, one byte of value
constexpr std::uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // name, rank, one extent, type, offset

bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& product) {
  return !__builtin_mul_overflow(a, b, &product);
}

/// Bytes of a value of fixed size; 0 for strings and arrays.
std::uint64_t fixed_size(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

/// Reads little-endian fields one after the other and never past the end.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint64_t position() const { return position_; }
  [[nodiscard]] std::uint64_t left() const { return bytes_.size() - position_; }

  template <typename T>
  Result<T> number(std::string_view what) {
    T value;
    ONEBEAT_ASSIGN_OR_RETURN(const auto raw, take(sizeof(T), what));
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  Result<std::span<const std::byte>> take(std::uint64_t count, std::string_view what) {
    if (count > left()) {
      return data_loss("{} at byte {} takes {} bytes, but the file ends after {}", what, position_,
                       count, left());
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  Result<std::string_view> string(std::string_view what) {
    ONEBEAT_ASSIGN_OR_RETURN(const auto length, number<std::uint64_t>(what));
    ONEBEAT_ASSIGN_OR_RETURN(const auto raw, take(length, what));
    return std::string_view(reinterpret_cast<const char*>(raw.data()), raw.size());
  }

  [[nodiscard]] std::span<const std::byte> since(std::uint64_t begin) const {
    return bytes_.subspan(static_cast<std::size_t>(begin),
                          position_ - static_cast<std::size_t>(begin));
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

struct Header {
  std::uint32_t version = 0;
  std::uint64_t num_tensors = 0;
  std::uint64_t num_entries = 0;
};

Status check_count(std::uint64_t count, std::uint64_t limit, std::uint64_t min_bytes,
                   std::uint64_t left, std::string_view what) {
  if (count > limit)
    return data_loss("the header counts {} {}; the limit is {}", count, what, limit);
  if (count > left / min_bytes) {
    return data_loss("the header counts {} {}, which cannot fit in the {} bytes that follow it",
                     count, what, left);
  }
  return {};
}

Result<Header> read_header(Cursor& in) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto magic, in.take(4, "the magic number"));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    return unsupported("not a GGUF file: it starts with {}, not with \"GGUF\"",
                       quoted({reinterpret_cast<const char*>(magic.data()), 4}));
  }
  Header header;
  ONEBEAT_ASSIGN_OR_RETURN(header.version, in.number<std::uint32_t>("the version"));
  if (header.version != 2 && header.version != 3) {
    const std::uint32_t swapped = __builtin_bswap32(header.version);
    if (swapped >= 1 && swapped <= 3) {
      return unsupported("the file is big-endian (GGUF version {}); convert it to little-endian",
                         swapped);
    }
    return unsupported("GGUF version {}; versions 2 and 3 can be read", header.version);
  }
  ONEBEAT_ASSIGN_OR_RETURN(header.num_tensors, in.number<std::uint64_t>("the number of tensors"));
  ONEBEAT_ASSIGN_OR_RETURN(header.num_entries,
                           in.number<std::uint64_t>("the number of metadata entries"));
  ONEBEAT_RETURN_IF_ERROR(
      check_count(header.num_entries, kMaxEntries, kMinEntryBytes, in.left(), "metadata entries"));
  ONEBEAT_RETURN_IF_ERROR(
      check_count(header.num_tensors, kMaxTensors, kMinTensorBytes, in.left(), "tensors"));
  return header;
}

Result<GgufType> read_type(Cursor& in) {
  ONEBEAT_ASSIGN_OR_RETURN(const auto number, in.number<std::uint32_t>("a value type"));
  if (number > static_cast<std::uint32_t>(GgufType::kFloat64)) {
    return data_loss("value type {}; known are 0 to {}", number,
                     static_cast<std::uint32_t>(GgufType::kFloat64));
  }
  return static_cast<GgufType>(number);
}

Status check_bools(std::span<const std::byte> values) {
  for (const std::byte b : values) {
    if (std::to_integer<unsigned>(b) > 1) {
      return data_loss("a bool holds {}; it must be 0 or 1", std::to_integer<unsigned>(b));
    }
  }
  return {};
}

Status skip_value(Cursor& in, GgufType type, int depth);

struct ArrayHead {
  GgufType element_type = GgufType::kUint8;
  std::uint64_t count = 0;
};

Result<ArrayHead> read_array_head(Cursor& in) {
  ArrayHead head;
  ONEBEAT_ASSIGN_OR_RETURN(head.element_type, read_type(in));
  ONEBEAT_ASSIGN_OR_RETURN(head.count, in.number<std::uint64_t>("an array's length"));
  return head;
}

Status skip_elements(Cursor& in, const ArrayHead& head, int depth) {
  if (const std::uint64_t size = fixed_size(head.element_type); size != 0) {
    std::uint64_t bytes = 0;
    if (!multiply(head.count, size, bytes)) {
      return data_loss("an array of {} elements of {} bytes is too long", head.count, size);
    }
    ONEBEAT_ASSIGN_OR_RETURN(const auto values, in.take(bytes, "an array"));
    return head.element_type == GgufType::kBool ? check_bools(values) : Status();
  }
  // Each string takes at least its length field, and each inner array its type and length fields.
  const std::uint64_t min_bytes = head.element_type == GgufType::kString ? 8 : 12;
  if (head.count > in.left() / min_bytes) {
    return data_loss("an array of {} elements cannot fit in the {} bytes that are left", head.count,
                     in.left());
  }
  for (std::uint64_t i = 0; i < head.count; ++i) {
    ONEBEAT_RETURN_IF_ERROR(skip_value(in, head.element_type, depth));
  }
  return {};
}

Status skip_value(Cursor& in, GgufType type, int depth) {
  switch (type) {
    case GgufType::kString:
      return in.string("a string").status();
    case GgufType::kArray: {
      if (depth >= kMaxArrayDepth) {
        return data_loss("arrays are nested more than {} deep", kMaxArrayDepth);
      }
      ONEBEAT_ASSIGN_OR_RETURN(const auto head, read_array_head(in));
      return skip_elements(in, head, depth + 1);
    }
    default: {
      ONEBEAT_ASSIGN_OR_RETURN(const auto value, in.take(fixed_size(type), to_string(type)));
      return type == GgufType::kBool ? check_bools(value) : Status();
    }
  }
}

Result<GgufEntry> read_entry(Cursor& in) {
  GgufEntry entry;
  ONEBEAT_ASSIGN_OR_RETURN(entry.key, in.string("a metadata key"));
  if (entry.key.empty()) return data_loss("an empty metadata key at byte {}", in.position());
  if (entry.key.size() > kMaxKeyBytes) {
    return data_loss("a metadata key of {} bytes; the limit is {}", entry.key.size(), kMaxKeyBytes);
  }
  const auto read_value = [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(entry.type, read_type(in));
    entry.element_type = entry.type;
    if (entry.type == GgufType::kArray) {
      ONEBEAT_ASSIGN_OR_RETURN(const auto head, read_array_head(in));
      entry.element_type = head.element_type;
      entry.count = head.count;
      const std::uint64_t begin = in.position();
      ONEBEAT_RETURN_IF_ERROR(skip_elements(in, head, 1));
      entry.bytes = in.since(begin);
      return {};
    }
    const std::uint64_t begin = in.position();
    ONEBEAT_RETURN_IF_ERROR(skip_value(in, entry.type, 0));
    entry.bytes = in.since(begin);
    return {};
  };
  const Status status = read_value();
  if (!status.ok()) return status.with_context("metadata " + quoted(entry.key));
  return entry;
}

/// A tensor as the header describes it; its bytes are known once the header's end is.
struct TensorEntry {
  GgufTensor tensor;
  std::uint64_t offset = 0;  // From the beginning of the data.
  std::uint64_t size = 0;    // Bytes.
};

/// Fills elements and size from shape and type.
Status measure(TensorEntry& entry) {
  const GgmlTypeInfo& info = ggml_type_info(entry.tensor.type);
  entry.tensor.elements = 1;
  for (const std::uint64_t extent : entry.tensor.shape) {
    if (extent == 0) return data_loss("an extent is 0; every extent must be at least 1");
    // Signed 64-bit indices must reach every element too.
    if (!multiply(entry.tensor.elements, extent, entry.tensor.elements) ||
        entry.tensor.elements >> 63 != 0) {
      return data_loss("the product of the extents is beyond 2^63 elements");
    }
  }
  if (entry.tensor.shape[0] % info.block_elements != 0) {
    return data_loss("rows of {} elements are not whole blocks of {} ({})", entry.tensor.shape[0],
                     info.block_elements, info.name);
  }
  if (!multiply(entry.tensor.elements / info.block_elements, info.block_bytes, entry.size)) {
    return data_loss("{} elements of type {} are beyond 2^64 bytes", entry.tensor.elements,
                     info.name);
  }
  return {};
}

Result<TensorEntry> read_tensor(Cursor& in) {
  TensorEntry entry;
  ONEBEAT_ASSIGN_OR_RETURN(entry.tensor.name, in.string("a tensor's name"));
  if (entry.tensor.name.empty())
    return data_loss("a tensor without a name at byte {}", in.position());
  if (entry.tensor.name.size() > kMaxKeyBytes) {
    return data_loss("a tensor's name of {} bytes; the limit is {}", entry.tensor.name.size(),
                     kMaxKeyBytes);
  }
  const auto read_rest = [&]() -> Status {
    ONEBEAT_ASSIGN_OR_RETURN(const auto rank, in.number<std::uint32_t>("the number of extents"));
    if (rank == 0 || rank > kMaxDimensions) {
      return data_loss("{} extents; 1 to {} are possible", rank, kMaxDimensions);
    }
    for (std::uint32_t i = 0; i < rank; ++i) {
      ONEBEAT_ASSIGN_OR_RETURN(const auto extent, in.number<std::uint64_t>("an extent"));
      entry.tensor.shape.push_back(extent);
    }
    ONEBEAT_ASSIGN_OR_RETURN(const auto number, in.number<std::uint32_t>("the element type"));
    const auto type = ggml_type_from_number(number);
    if (!type) {
      return unsupported("element type {} cannot be read; readable are {}", ggml_type_label(number),
                         readable_ggml_types());
    }
    entry.tensor.type = *type;
    ONEBEAT_ASSIGN_OR_RETURN(entry.offset, in.number<std::uint64_t>("the offset"));
    return measure(entry);
  };
  const Status status = read_rest();
  if (!status.ok()) return status.with_context("tensor " + quoted(entry.tensor.name));
  return entry;
}

/// Gives every tensor its bytes, after checking that all lie inside the data and none overlap.
Status place_tensors(std::span<TensorEntry> entries, std::span<const std::byte> data,
                     std::uint32_t alignment) {
  for (TensorEntry& entry : entries) {
    if (entry.offset % alignment != 0) {
      return data_loss("tensor {}: offset {} is not a multiple of the alignment {}",
                       quoted(entry.tensor.name), entry.offset, alignment);
    }
    if (entry.offset > data.size() || entry.size > data.size() - entry.offset) {
      return data_loss(
          "tensor {}: {} bytes at offset {} reach past the {} bytes of data; the file is truncated "
          "or damaged",
          quoted(entry.tensor.name), entry.size, entry.offset, data.size());
    }
    entry.tensor.bytes =
        data.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.size));
  }
  std::vector<const TensorEntry*> by_offset;
  by_offset.reserve(entries.size());
  for (const TensorEntry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const TensorEntry& before = *by_offset[i - 1];
    if (by_offset[i]->offset < before.offset + before.size) {
      return data_loss("tensors {} and {} overlap at offset {}", quoted(before.tensor.name),
                       quoted(by_offset[i]->tensor.name), by_offset[i]->offset);
    }
  }
  return {};
}

/// Indices of `items` sorted by `name`; fails on equal names.
template <typename Item>
Result<std::vector<std::uint32_t>> sort_by(const std::vector<Item>& items,
                                           std::string_view Item::*name, std::string_view what) {
  std::vector<std::uint32_t> order(items.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return items[a].*name < items[b].*name; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (items[order[i]].*name == items[order[i - 1]].*name) {
      return data_loss("{} {} appears twice", what, quoted(items[order[i]].*name));
    }
  }
  return order;
}

template <typename Item>
const Item* find_by(const std::vector<Item>& items, const std::vector<std::uint32_t>& order,
                    std::string_view Item::*name, std::string_view wanted) {
  const auto found = std::lower_bound(
      order.begin(), order.end(), wanted,
      [&](std::uint32_t i, std::string_view value) { return items[i].*name < value; });
  if (found == order.end() || items[*found].*name != wanted) return nullptr;
  return &items[*found];
}

}  // namespace

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  ONEBEAT_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  ONEBEAT_ASSIGN_OR_RETURN(GgufFile file, parse(mapping.bytes(), path.string()));
  file.mapping_ = std::move(mapping);
  return file;
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  ONEBEAT_CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 == 0);
  GgufFile file;
  file.name_ = std::move(name);
  const auto read = [&]() -> Status {
    Cursor in(bytes);
    ONEBEAT_ASSIGN_OR_RETURN(const Header header, read_header(in));
    file.version_ = header.version;
    for (std::uint64_t i = 0; i < header.num_entries; ++i) {
      ONEBEAT_ASSIGN_OR_RETURN(auto entry, read_entry(in));
      file.metadata_.push_back(entry);
    }
    ONEBEAT_ASSIGN_OR_RETURN(file.metadata_by_key_,
                             sort_by(file.metadata_, &GgufEntry::key, "metadata"));
    ONEBEAT_ASSIGN_OR_RETURN(file.alignment_,
                             file.optional<std::uint32_t>("general.alignment", kDefaultAlignment));
    if (file.alignment_ < 8 || (file.alignment_ & (file.alignment_ - 1)) != 0) {
      return data_loss("general.alignment is {}; it must be a power of two from 8 up",
                       file.alignment_);
    }

    std::vector<TensorEntry> entries;
    for (std::uint64_t i = 0; i < header.num_tensors; ++i) {
      ONEBEAT_ASSIGN_OR_RETURN(auto entry, read_tensor(in));
      entries.push_back(std::move(entry));
    }
    // A file without tensors (a vocabulary) may end without the padding.
    const std::uint64_t padding =
        (file.alignment_ - in.position() % file.alignment_) % file.alignment_;
    if (entries.empty()) return {};
    ONEBEAT_RETURN_IF_ERROR(in.take(padding, "the padding before the data").status());
    ONEBEAT_RETURN_IF_ERROR(place_tensors(
        entries, bytes.subspan(static_cast<std::size_t>(in.position())), file.alignment_));
    file.tensors_.reserve(entries.size());
    for (TensorEntry& entry : entries) file.tensors_.push_back(std::move(entry.tensor));
    ONEBEAT_ASSIGN_OR_RETURN(file.tensors_by_name_,
                             sort_by(file.tensors_, &GgufTensor::name, "tensor"));
    return {};
  };
  const Status status = read();
  if (!status.ok()) return status.with_context(file.name_);
  return file;
}

const GgufEntry* GgufFile::find(std::string_view key) const {
  return find_by(metadata_, metadata_by_key_, &GgufEntry::key, key);
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_by(tensors_, tensors_by_name_, &GgufTensor::name, name);
}

}  // namespace onebeat
