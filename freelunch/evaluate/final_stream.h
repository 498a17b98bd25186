#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>

#include "freelunch/model/forward.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::evaluate {

/// Bytes of residual stream that an evaluation holds at a time.
inline constexpr int64_t kStreamBytes = 64LL << 20U;
/// How many windows of `length` tokens have so long a stream of that width in fp32; at least 1.
int64_t windows_together(int64_t length, int64_t width);

/// The residual stream after the last block, (windows, l, d) fp32 on the device, of windows (windows, l)
/// int64 on the CPU. Each block is read once and applied to one window after the other; finished(blocks) is
/// called after each. No gradients. Throws Interrupted on request.
at::Tensor final_stream(const model::WeightView& weights, const at::Tensor& windows,
                        const model::Forward& forward, const std::function<void(int64_t)>& finished);

}  // namespace freelunch::evaluate
