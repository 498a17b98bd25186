#pragma once
#include <cstddef>
#include <span>
#include <string_view>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// True for the dtypes that quantise() writes: F32, F16, BF16, Q8_0.
bool converts_from_f32(DType dtype);

/// Encodes in.size() fp32 values. Zeros stay exact zeros in every dtype. F16 and BF16 round to nearest, ties
/// to even; Q8_0 gives the same bits as quantize_row_q8_0_ref of ggml (ggml-quants.c). Throws InvalidArgument
/// unless `in` is whole blocks and `out` has their size; Numerical, naming `tensor`, for a value that is not
/// finite or that the dtype cannot hold (above 65504 in F16); Unsupported for other dtypes.
void quantise(DType dtype, std::span<const float> in, std::span<std::byte> out, std::string_view tensor);

}  // namespace freelunch::checkpoint
