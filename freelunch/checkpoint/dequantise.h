#pragma once
#include <cstddef>
#include <span>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// Decodes out.size() elements to fp32. Quantised types give the same bits as dequantize_row_* of ggml
/// (ggml-quants.c) and gguf.quants.dequantize of Python; F64, F32, F16 and BF16 are converted. `in` needs no
/// alignment. Throws InvalidArgument unless `in` holds exactly these elements in whole blocks, Unsupported
/// for other dtypes.
void dequantise(DType dtype, std::span<const std::byte> in, std::span<float> out);

}  // namespace freelunch::checkpoint
