#include "freelunch/checkpoint/quantise.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/float_formats.h"

namespace freelunch::checkpoint {
namespace {

constexpr size_t kQ8Elements = 32;

[[noreturn]] void refuse(DType dtype, float value, std::string_view tensor) {
  fail(ErrorKind::kNumerical, "tensor '{}' holds {}, which {} cannot hold; choose bf16 or f32",
       printable(tensor), value, name(dtype));
}

/// `infinity` is the bit pattern of infinity in the dtype, without sign.
template <typename Convert>
void narrow(DType dtype, std::span<const float> in, std::byte* out, Convert convert, uint16_t infinity,
            std::string_view tensor) {
  for (size_t i = 0; i < in.size(); ++i) {
    const uint16_t bits = convert(in[i]);
    if ((bits & 0x7FFFU) >= infinity) refuse(dtype, in[i], tensor);
    std::memcpy(out + 2 * i, &bits, sizeof bits);
  }
}

void encode_q8_0(const float* in, std::byte* out, std::string_view tensor) {
  float largest = 0;
  for (size_t i = 0; i < kQ8Elements; ++i) {
    if (!std::isfinite(in[i])) refuse(DType::kQ8_0, in[i], tensor);
    largest = std::max(largest, std::abs(in[i]));
  }
  const float scale = largest / 127.0F;
  const float inverse = scale != 0 ? 1.0F / scale : 0.0F;
  const uint16_t bits = f32_to_f16(scale);
  if ((bits & 0x7FFFU) >= 0x7C00U) refuse(DType::kQ8_0, largest, tensor);
  std::memcpy(out, &bits, sizeof bits);
  for (size_t i = 0; i < kQ8Elements; ++i)
    out[sizeof bits + i] = static_cast<std::byte>(static_cast<int8_t>(std::round(in[i] * inverse)));
}

}  // namespace

bool converts_from_f32(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kQ8_0;
}

void quantise(DType dtype, std::span<const float> in, std::span<std::byte> out, std::string_view tensor) {
  if (!converts_from_f32(dtype))
    fail(ErrorKind::kUnsupported, "tensor '{}' cannot be written as {}; expected F32, F16, BF16 or Q8_0",
         printable(tensor), name(dtype));
  const auto bytes = bytes_for(dtype, static_cast<int64_t>(in.size()));
  if (!bytes || *bytes != out.size()) {
    fail(ErrorKind::kInvalidArgument, "{} values of {} do not take {} bytes", in.size(), name(dtype),
         out.size());
  }
  if (dtype == DType::kF32) {
    for (const float value : in) {
      if (!std::isfinite(value)) refuse(dtype, value, tensor);
    }
    if (!in.empty()) std::memcpy(out.data(), in.data(), out.size());
  } else if (dtype == DType::kF16) {
    narrow(dtype, in, out.data(), f32_to_f16, 0x7C00U, tensor);
  } else if (dtype == DType::kBF16) {
    narrow(dtype, in, out.data(), f32_to_bf16, 0x7F80U, tensor);
  } else {
    const auto size = static_cast<size_t>(block_bytes(dtype));
    for (size_t i = 0; i * kQ8Elements < in.size(); ++i)
      encode_q8_0(in.data() + i * kQ8Elements, out.data() + i * size, tensor);
  }
}

}  // namespace freelunch::checkpoint
