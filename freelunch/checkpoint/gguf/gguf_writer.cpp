#include "freelunch/checkpoint/gguf/gguf_writer.h"

#include <algorithm>
#include <type_traits>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/gguf/gguf_types.h"
#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxDimensions = 4;
constexpr std::string_view kArrayOf = "array of ";

/// Appends little-endian values to a string.
class ByteWriter {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put_string(std::string_view text) {
    put<uint64_t>(text.size());
    bytes_ += text;
  }
  void pad(uint64_t alignment) { bytes_.append((alignment - bytes_.size() % alignment) % alignment, '\0'); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Writes a number in the type `type`. Values were read from that type, so they fit.
template <typename Number>
void put_number(ByteWriter& out, GgufType type, Number value) {
  switch (type) {
    case GgufType::kUint8:
      return out.put(static_cast<uint8_t>(value));
    case GgufType::kInt8:
      return out.put(static_cast<int8_t>(value));
    case GgufType::kUint16:
      return out.put(static_cast<uint16_t>(value));
    case GgufType::kInt16:
      return out.put(static_cast<int16_t>(value));
    case GgufType::kUint32:
      return out.put(static_cast<uint32_t>(value));
    case GgufType::kInt32:
      return out.put(static_cast<int32_t>(value));
    case GgufType::kFloat32:
      return out.put(static_cast<float>(value));
    case GgufType::kUint64:
      return out.put(static_cast<uint64_t>(value));
    case GgufType::kInt64:
      return out.put(static_cast<int64_t>(value));
    case GgufType::kFloat64:
      return out.put(static_cast<double>(value));
    default:
      return out.put(static_cast<uint8_t>(value));  // bool
  }
}

GgufType required_type(std::string_view text, const std::string& key) {
  const auto type = gguf_type_named(text);
  if (!type)
    fail(ErrorKind::kInvalidArgument, "gguf: metadata key '{}' has type '{}', which cannot be written",
         printable(key), text);
  return *type;
}

void put_value(ByteWriter& out, const std::string& key, const GgufValue& value) {
  const bool is_array = value.type.starts_with(kArrayOf);
  const GgufType type =
      required_type(std::string_view(value.type).substr(is_array ? kArrayOf.size() : 0), key);
  if (is_array) out.put(static_cast<uint32_t>(GgufType::kArray));
  out.put(static_cast<uint32_t>(type));
  std::visit(
      [&](const auto& data) {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, std::string>) {
          out.put_string(data);
        } else if constexpr (std::is_arithmetic_v<Data>) {
          put_number(out, type, data);
        } else {
          out.put<uint64_t>(data.size());
          for (const auto& element : data) {
            if constexpr (std::is_same_v<Data, std::vector<std::string>>) {
              out.put_string(element);
            } else if constexpr (std::is_same_v<Data, std::vector<bool>>) {
              put_number(out, type, static_cast<uint8_t>(element));
            } else {
              put_number(out, type, element);
            }
          }
        }
      },
      value.data);
}

uint64_t planned_bytes(const TensorPlan& tensor) {
  const auto elements = element_count(tensor.shape);
  const bool whole_rows = tensor.shape.empty() || tensor.shape.back() % block_elements(tensor.dtype) == 0;
  const auto bytes = elements && whole_rows ? bytes_for(tensor.dtype, *elements) : std::nullopt;
  if (!bytes || !ggml_type_of(tensor.dtype) || tensor.shape.size() > kMaxDimensions) {
    fail(ErrorKind::kInvalidArgument, "gguf: tensor '{}' of shape {} and dtype {} cannot be written",
         printable(tensor.name), shape_text(tensor.shape), name(tensor.dtype));
  }
  return *bytes;
}

uint64_t aligned(uint64_t size, uint64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

/// All bytes before the data, padded to the start of the data.
std::string header_of(const GgufMetadata& metadata, const std::vector<TensorPlan>& tensors,
                      uint64_t alignment) {
  ByteWriter out;
  out.put<uint32_t>(0x46554747);  // "GGUF"
  out.put(kVersion);
  out.put<uint64_t>(tensors.size());
  out.put<uint64_t>(metadata.keys().size());
  for (const std::string& key : metadata.keys()) {
    out.put_string(key);
    put_value(out, key, *metadata.find(key));
  }
  uint64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    const uint64_t bytes = planned_bytes(tensor);
    out.put_string(tensor.name);
    out.put(static_cast<uint32_t>(tensor.shape.size()));
    for (auto it = tensor.shape.rbegin(); it != tensor.shape.rend(); ++it)  // the fastest dimension first
      out.put(static_cast<uint64_t>(*it));
    out.put(*ggml_type_of(tensor.dtype));
    out.put(offset);
    offset += aligned(bytes, alignment);
  }
  out.pad(alignment);
  return out.bytes();
}

}  // namespace

GgufWriter::GgufWriter(std::filesystem::path file, const GgufMetadata& metadata,
                       const std::vector<TensorPlan>& tensors)
    : TensorWriter(std::move(file), "gguf") {
  const uint64_t alignment = metadata.get_uint("general.alignment", 32);
  const std::string header = header_of(metadata, tensors, alignment);
  uint64_t at = header.size();
  for (const TensorPlan& tensor : tensors) {
    const uint64_t bytes = planned_bytes(tensor);
    place(tensor.name, at, bytes);
    at += aligned(bytes, alignment);
  }
  reserve(header, at);
}

}  // namespace freelunch::checkpoint
