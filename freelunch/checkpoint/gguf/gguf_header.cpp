#include "freelunch/checkpoint/gguf/gguf_header.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/files/mapped_file.h"
#include "freelunch/checkpoint/gguf/byte_reader.h"
#include "freelunch/checkpoint/gguf/gguf_types.h"

namespace freelunch::checkpoint {
namespace {

using Type = GgufType;

/// Bytes of the smallest value of a type; it limits the length of an array.
uint64_t least_bytes(Type type) {
  constexpr uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return kSizes[static_cast<size_t>(type)];
}

int64_t read_signed(ByteReader& reader, Type type, const std::string& key) {
  switch (type) {
    case Type::kInt8:
      return reader.read<int8_t>(key);
    case Type::kInt16:
      return reader.read<int16_t>(key);
    case Type::kInt32:
      return reader.read<int32_t>(key);
    default:
      return reader.read<int64_t>(key);
  }
}

uint64_t read_unsigned(ByteReader& reader, Type type, const std::string& key) {
  switch (type) {
    case Type::kUint8:
      return reader.read<uint8_t>(key);
    case Type::kUint16:
      return reader.read<uint16_t>(key);
    case Type::kUint32:
      return reader.read<uint32_t>(key);
    default:
      return reader.read<uint64_t>(key);
  }
}

bool is_signed(Type type) {
  return type == Type::kInt8 || type == Type::kInt16 || type == Type::kInt32 || type == Type::kInt64;
}
bool is_unsigned(Type type) {
  return type == Type::kUint8 || type == Type::kUint16 || type == Type::kUint32 || type == Type::kUint64;
}

/// int32 if every element fits: callers ask for int32.
template <typename T, typename Read>
GgufValue::Data read_integers(uint64_t count, Read read) {
  std::vector<T> values(count);
  for (T& value : values) value = read();
  const bool fits = std::all_of(values.begin(), values.end(), [](T v) { return std::in_range<int32_t>(v); });
  if (!fits) return values;
  return std::vector<int32_t>(values.begin(), values.end());
}

template <typename T, typename Read>
GgufValue::Data read_plain(uint64_t count, Read read) {
  std::vector<T> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) values.push_back(read());
  return values;
}

GgufValue read_array(ByteReader& reader, const std::string& key) {
  const Type type{reader.read<uint32_t>(key)};
  const auto count = reader.read<uint64_t>(key);
  if (type > Type::kFloat64 || type == Type::kArray) {
    fail(ErrorKind::kBadFile, "gguf: metadata key '{}' of {} is an array of {} values, which cannot be read",
         printable(key), reader.file(), name(type));
  }
  if (count > reader.left() / least_bytes(type)) {
    fail(ErrorKind::kBadFile,
         "gguf: metadata key '{}' of {} has {} elements, more than the file holds; incomplete download?",
         printable(key), reader.file(), count);
  }
  GgufValue value{.data = {}, .type = "array of " + std::string(name(type))};
  if (is_signed(type)) {
    value.data = read_integers<int64_t>(count, [&] { return read_signed(reader, type, key); });
  } else if (is_unsigned(type)) {
    value.data = read_integers<uint64_t>(count, [&] { return read_unsigned(reader, type, key); });
  } else if (type == Type::kFloat32) {
    value.data = read_plain<float>(count, [&] { return reader.read<float>(key); });
  } else if (type == Type::kFloat64) {
    value.data = read_plain<double>(count, [&] { return reader.read<double>(key); });
  } else if (type == Type::kBool) {
    value.data = read_plain<bool>(count, [&] { return reader.read<uint8_t>(key) != 0; });
  } else {
    value.data = read_plain<std::string>(count, [&] { return reader.read_string(key); });
  }
  return value;
}

GgufValue read_value(ByteReader& reader, const std::string& key) {
  const Type type{reader.read<uint32_t>(key)};
  if (type == Type::kArray) return read_array(reader, key);
  GgufValue value{.data = {}, .type = std::string(name(type))};
  if (is_signed(type)) {
    value.data = read_signed(reader, type, key);
  } else if (is_unsigned(type)) {
    value.data = read_unsigned(reader, type, key);
  } else if (type == Type::kFloat32) {
    value.data = static_cast<double>(reader.read<float>(key));
  } else if (type == Type::kFloat64) {
    value.data = reader.read<double>(key);
  } else if (type == Type::kBool) {
    value.data = reader.read<uint8_t>(key) != 0;
  } else if (type == Type::kString) {
    value.data = reader.read_string(key);
  } else {
    fail(ErrorKind::kBadFile, "gguf: metadata key '{}' of {} has value type {}, which does not exist",
         printable(key), reader.file(), static_cast<uint32_t>(type));
  }
  return value;
}

GgufHeader::Entry read_tensor(ByteReader& reader) {
  TensorInfo info{.name = reader.read_string("a tensor's name"),
                  .dtype = DType::kF32,
                  .shape = {},
                  .bytes = 0,
                  .file = reader.file()};
  const std::string shown = printable(info.name);
  const auto dimensions = reader.read<uint32_t>("tensor '" + shown + "'");
  if (dimensions > 4)
    fail(ErrorKind::kBadFile, "gguf: tensor '{}' of {} has {} dimensions, expected at most 4", shown,
         reader.file(), dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = reader.read<uint64_t>("tensor '" + shown + "'");
    if (size > static_cast<uint64_t>(INT64_MAX))
      fail(ErrorKind::kBadFile, "gguf: tensor '{}' of {} has a dimension of {}", shown, reader.file(), size);
    info.shape.insert(info.shape.begin(),
                      static_cast<int64_t>(size));  // ggml lists the fastest dimension first
  }
  const auto type = reader.read<uint32_t>("tensor '" + shown + "'");
  const std::optional<DType> dtype = dtype_of_ggml(type);
  if (!dtype)
    fail(ErrorKind::kUnsupported, "gguf: tensor '{}' of {} has ggml type {}, which is not supported", shown,
         reader.file(), type);
  info.dtype = *dtype;
  const auto offset = reader.read<uint64_t>("tensor '" + shown + "'");
  const auto elements = element_count(info.shape);
  const bool whole_rows = info.shape.empty() || info.shape.back() % block_elements(info.dtype) == 0;
  const auto bytes = elements && whole_rows ? bytes_for(info.dtype, *elements) : std::nullopt;
  if (!bytes) {
    fail(ErrorKind::kBadFile, "gguf: tensor '{}' of {} has shape {}, which {} cannot hold", shown,
         reader.file(), shape_text(info.shape), name(info.dtype));
  }
  info.bytes = *bytes;
  return {.info = std::move(info), .begin = offset};
}

uint64_t alignment_of(const GgufMetadata& metadata, const std::string& file) {
  const uint64_t alignment = metadata.get_uint("general.alignment", 32);
  if (alignment == 0 || !std::has_single_bit(alignment) || alignment > (1U << 20U)) {
    fail(ErrorKind::kBadFile, "gguf: {} has an alignment of {}, expected a power of two", file, alignment);
  }
  return alignment;
}

void place_tensors(GgufHeader& header, uint64_t header_end, uint64_t size, const std::string& file) {
  const uint64_t alignment = alignment_of(header.metadata, file);
  const uint64_t base = (header_end + alignment - 1) / alignment * alignment;
  for (GgufHeader::Entry& entry : header.entries) {
    const uint64_t offset = entry.begin;
    const std::string shown = printable(entry.info.name);
    if (offset % alignment != 0)
      fail(ErrorKind::kBadFile, "gguf: tensor '{}' of {} starts at {}, which is not aligned to {}", shown,
           file, offset, alignment);
    if (base > size || offset > size - base || entry.info.bytes > size - base - offset) {
      fail(ErrorKind::kBadFile,
           "gguf: tensor '{}' needs {} bytes at {} of the data, but {} has {} bytes; incomplete download?",
           shown, entry.info.bytes, offset, file, size);
    }
    entry.begin = base + offset;
  }
  std::vector<const GgufHeader::Entry*> order;
  for (const auto& entry : header.entries) {
    if (entry.info.bytes > 0) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->begin + order[i - 1]->info.bytes > order[i]->begin) {
      fail(ErrorKind::kBadFile, "gguf: tensors '{}' and '{}' of {} overlap",
           printable(order[i - 1]->info.name), printable(order[i]->info.name), file);
    }
  }
}

void check_magic(ByteReader& reader, std::span<const std::byte> content) {
  if (looks_like_lfs_pointer(content)) {
    fail(ErrorKind::kBadFile, "gguf: {} looks like a Git LFS pointer, not the file itself; run git lfs pull",
         reader.file());
  }
  const auto magic = reader.take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0)
    fail(ErrorKind::kBadFile, "gguf: {} does not start with 'GGUF'; is it another kind of file?",
         reader.file());
}

}  // namespace

GgufHeader read_gguf_header(std::span<const std::byte> content, const std::string& file) {
  ByteReader reader(content, file);
  check_magic(reader, content);
  GgufHeader header{
      .version = reader.read<uint32_t>("the version"), .metadata = GgufMetadata(file), .entries = {}};
  if (header.version != 2 && header.version != 3) {
    const bool swapped = header.version >= (1U << 24U);
    fail(ErrorKind::kUnsupported, "gguf: {} has version {}, expected 2 or 3{}", file, header.version,
         swapped ? "; is it big-endian?" : "");
  }
  const auto tensors = reader.read<uint64_t>("the number of tensors");
  const auto keys = reader.read<uint64_t>("the number of metadata keys");
  // a key takes at least 13 bytes, a tensor 24
  if (keys > reader.left() / 13 || tensors > reader.left() / 24) {
    fail(ErrorKind::kBadFile,
         "gguf: {} announces {} tensors and {} metadata keys, more than its {} bytes hold; incomplete "
         "download?",
         file, tensors, keys, content.size());
  }
  for (uint64_t i = 0; i < keys; ++i) {
    std::string key = reader.read_string("a metadata key");
    GgufValue value = read_value(reader, key);
    header.metadata.add(std::move(key), std::move(value));
  }
  header.entries.reserve(tensors);
  for (uint64_t i = 0; i < tensors; ++i) header.entries.push_back(read_tensor(reader));
  place_tensors(header, reader.position(), content.size(), file);
  return header;
}

}  // namespace freelunch::checkpoint
