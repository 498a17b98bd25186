#pragma once
#include <cstddef>
#include <span>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// Decodes out.size() elements to fp32, bit for bit as ggml's dequantize_row_* (ggml-quants.c) and Python's
/// gguf.quants.dequantize do. F64, F32, F16 and BF16 are converted. `in` needs no alignment and must hold
/// exactly those elements in whole blocks, else InvalidArgument. Throws Unsupported for other dtypes.
void dequantise(DType dtype, std::span<const std::byte> in, std::span<float> out);

}  // namespace freelunch::checkpoint
