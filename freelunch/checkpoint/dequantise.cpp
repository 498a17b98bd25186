#include "freelunch/checkpoint/dequantise.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/float_formats.h"

namespace freelunch::checkpoint {
namespace {

// One function for each block format, named as in ggml-quants.c. `b` points to the bytes of a block, `y` to
// its values. Fields are read byte by byte because data in a memory map is not aligned.

float f16_at(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

uint32_t u32_at(const uint8_t* p) {
  uint32_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

void q4_0(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[2 + j] & 0x0F) - 8) * d;
    y[j + 16] = static_cast<float>((b[2 + j] >> 4) - 8) * d;
  }
}

void q4_1(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  const float m = f16_at(b + 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(b[4 + j] & 0x0F) * d + m;
    y[j + 16] = static_cast<float>(b[4 + j] >> 4) * d + m;
  }
}

/// The fifth bits of the 32 values of a block are stored together: bit j belongs to value j.
void q5_0(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  const uint32_t high = u32_at(b + 2);
  for (uint32_t j = 0; j < 16; ++j) {
    const uint32_t low = (b[6 + j] & 0x0FU) | (((high >> j) << 4U) & 0x10U);
    const uint32_t up = (static_cast<uint32_t>(b[6 + j]) >> 4U) | ((high >> (j + 12)) & 0x10U);
    y[j] = static_cast<float>(static_cast<int>(low) - 16) * d;
    y[j + 16] = static_cast<float>(static_cast<int>(up) - 16) * d;
  }
}

void q5_1(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  const float m = f16_at(b + 2);
  const uint32_t high = u32_at(b + 4);
  for (uint32_t j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[8 + j] & 0x0FU) | (((high >> j) << 4U) & 0x10U)) * d + m;
    y[j + 16] =
        static_cast<float>((static_cast<uint32_t>(b[8 + j]) >> 4U) | ((high >> (j + 12)) & 0x10U)) * d + m;
  }
}

void q8_0(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<int8_t>(b[2 + j])) * d;
}

void iq4_nl(const uint8_t* b, float* y) {
  static constexpr std::array<int8_t, 16> kValues{-127, -104, -83, -65, -49, -35, -22, -10,
                                                  1,    13,   25,  38,  53,  69,  89,  113};
  const float d = f16_at(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(kValues[b[2 + j] & 0x0F]);
    y[j + 16] = d * static_cast<float>(kValues[b[2 + j] >> 4]);
  }
}

void q2_k(const uint8_t* b, float* y) {
  const uint8_t* scales = b;
  const uint8_t* q = b + 16;
  const float d = f16_at(b + 80);
  const float dmin = f16_at(b + 82);
  for (int half = 0; half < 2; ++half, q += 32) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (int part = 0; part < 2; ++part) {
        const uint8_t scale = *scales++;
        const float dl = d * static_cast<float>(scale & 0x0F);
        const float ml = dmin * static_cast<float>(scale >> 4);
        for (int l = 0; l < 16; ++l) *y++ = dl * static_cast<float>((q[16 * part + l] >> shift) & 3) - ml;
      }
    }
  }
}

/// Sixteen 6-bit scales in twelve bytes: the four low bits are in the first eight, the two high bits in the
/// last four.
std::array<int8_t, 16> q3_k_scales(const uint8_t* packed) {
  std::array<int8_t, 16> scales{};
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 0x0F : packed[i - 8] >> 4;
    const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
    scales[static_cast<size_t>(i)] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
  return scales;
}

void q3_k(const uint8_t* b, float* y) {
  const uint8_t* mask = b;
  const uint8_t* q = b + 32;
  const std::array<int8_t, 16> scales = q3_k_scales(b + 96);
  const float d = f16_at(b + 108);
  size_t next = 0;
  int bit = 1;
  for (int half = 0; half < 2; ++half, q += 32) {
    for (int shift = 0; shift < 8; shift += 2, bit <<= 1) {
      for (int part = 0; part < 2; ++part) {
        const float dl = d * static_cast<float>(scales[next++]);
        for (int l = 16 * part; l < 16 * part + 16; ++l) {
          *y++ = dl * static_cast<float>(((q[l] >> shift) & 3) - ((mask[l] & bit) != 0 ? 0 : 4));
        }
      }
    }
  }
}

struct ScaleAndMin {
  float scale, min;
};

/// Eight pairs of 6-bit numbers, scale and minimum, in twelve bytes (get_scale_min_k4 of ggml).
ScaleAndMin k4_scale(int j, const uint8_t* q) {
  if (j < 4) return {static_cast<float>(q[j] & 63), static_cast<float>(q[j + 4] & 63)};
  return {static_cast<float>((q[j + 4] & 0x0F) | ((q[j - 4] >> 6) << 4)),
          static_cast<float>((q[j + 4] >> 4) | ((q[j] >> 6) << 4))};
}

void q4_k(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  const float dmin = f16_at(b + 2);
  const uint8_t* q = b + 16;
  for (int j = 0; j < 8; ++j) {
    const auto [scale, min] = k4_scale(j, b + 4);
    const float d1 = d * scale;
    const float m1 = dmin * min;
    const int shift = j % 2 == 0 ? 0 : 4;
    for (int l = 0; l < 32; ++l) *y++ = d1 * static_cast<float>((q[l] >> shift) & 0x0F) - m1;
    if (j % 2 == 1) q += 32;
  }
}

void q5_k(const uint8_t* b, float* y) {
  const float d = f16_at(b);
  const float dmin = f16_at(b + 2);
  const uint8_t* high = b + 16;
  const uint8_t* q = b + 48;
  for (int j = 0; j < 8; ++j) {
    const auto [scale, min] = k4_scale(j, b + 4);
    const float d1 = d * scale;
    const float m1 = dmin * min;
    const int shift = j % 2 == 0 ? 0 : 4;
    for (int l = 0; l < 32; ++l) {
      *y++ = d1 * static_cast<float>(((q[l] >> shift) & 0x0F) + (((high[l] >> j) & 1) << 4)) - m1;
    }
    if (j % 2 == 1) q += 32;
  }
}

void q6_k(const uint8_t* b, float* y) {
  const uint8_t* low = b;
  const uint8_t* high = b + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(b + 192);
  const float d = f16_at(b + 208);
  for (int half = 0; half < 2; ++half, y += 128, low += 64, high += 32, scales += 8) {
    for (int l = 0; l < 32; ++l) {
      const int group = l / 16;
      const int q[4] = {
          (low[l] & 0x0F) | ((high[l] & 3) << 4), (low[l + 32] & 0x0F) | (((high[l] >> 2) & 3) << 4),
          (low[l] >> 4) | (((high[l] >> 4) & 3) << 4), (low[l + 32] >> 4) | ((high[l] >> 6) << 4)};
      for (int k = 0; k < 4; ++k) {
        y[l + 32 * k] = d * static_cast<float>(scales[group + 2 * k]) * static_cast<float>(q[k] - 32);
      }
    }
  }
}

using DecodeBlock = void (*)(const uint8_t*, float*);

DecodeBlock decoder_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return [](const uint8_t* b, float* y) {
        double value = 0;
        std::memcpy(&value, b, sizeof value);
        *y = static_cast<float>(value);
      };
    case DType::kQ4_0:
      return q4_0;
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ5_0:
      return q5_0;
    case DType::kQ5_1:
      return q5_1;
    case DType::kQ8_0:
      return q8_0;
    case DType::kQ2_K:
      return q2_k;
    case DType::kQ3_K:
      return q3_k;
    case DType::kQ4_K:
      return q4_k;
    case DType::kQ5_K:
      return q5_k;
    case DType::kQ6_K:
      return q6_k;
    case DType::kIQ4_NL:
      return iq4_nl;
    default:
      return nullptr;
  }
}

template <typename Convert>
void widen(const uint8_t* in, std::span<float> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    out[i] = convert(bits);
  }
}

}  // namespace

void dequantise(DType dtype, std::span<const std::byte> in, std::span<float> out) {
  if (!converts_to_f32(dtype))
    fail(ErrorKind::kUnsupported, "dtype {} does not convert to fp32", name(dtype));
  const auto bytes = bytes_for(dtype, static_cast<int64_t>(out.size()));
  if (!bytes || *bytes != in.size()) {
    fail(ErrorKind::kInvalidArgument, "{} values of {} do not take {} bytes", out.size(), name(dtype),
         in.size());
  }
  const auto* data = reinterpret_cast<const uint8_t*>(in.data());
  if (dtype == DType::kF32) {
    if (!out.empty()) std::memcpy(out.data(), data, in.size());
  } else if (dtype == DType::kBF16) {
    widen(data, out, bf16_to_f32);
  } else if (dtype == DType::kF16) {
    widen(data, out, f16_to_f32);
  } else {
    const DecodeBlock decode = decoder_of(dtype);
    const auto size = static_cast<size_t>(block_bytes(dtype));
    const auto elements = static_cast<size_t>(block_elements(dtype));
    for (size_t i = 0; i * elements < out.size(); ++i) decode(data + i * size, out.data() + i * elements);
  }
}

}  // namespace freelunch::checkpoint
