#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "freelunch/checkpoint/dtype.h"

// The numbers that GGUF gives to types. Source: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
namespace freelunch::checkpoint {

/// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

/// "uint32", "string"; "unknown" for a number that is no type.
std::string_view name(GgufType type);
/// The type of that name, empty if there is none.
std::optional<GgufType> gguf_type_named(std::string_view name);

/// The dtype with this ggml type number; empty if it is not handled.
std::optional<DType> dtype_of_ggml(uint32_t ggml_type);
/// The ggml type number of a dtype; empty for BOOL and U8, which ggml does not have.
std::optional<uint32_t> ggml_type_of(DType dtype);

}  // namespace freelunch::checkpoint
