#pragma once
#include <cstddef>
#include <span>
#include <string_view>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// Whether quantise() writes this dtype: F32, F16, BF16, Q8_0.
bool converts_from_f32(DType dtype);

/// Encodes in.size() fp32 values; zeros stay exact zeros in every dtype. F16 and BF16 round to nearest, ties
/// to even; Q8_0 equals ggml's quantize_row_q8_0_ref (ggml-quants.c) bit for bit. `in` must be whole blocks
/// and `out` their size, else InvalidArgument. Throws Numerical, naming `tensor`, for a value that is not
/// finite or that the dtype cannot hold (above 65504 in F16); Unsupported for other dtypes.
void quantise(DType dtype, std::span<const float> in, std::span<std::byte> out, std::string_view tensor);

}  // namespace freelunch::checkpoint
