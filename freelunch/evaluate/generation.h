#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "freelunch/model/weight_view.h"

namespace freelunch::evaluate {

struct GenerationSettings {
  int64_t tokens = 64;          ///< at most
  std::optional<int64_t> stop;  ///< a token that ends the text, EOS
};

/// Continues a prompt greedily: each token is the one of the largest logit, the first of equals. Returns the
/// new tokens, the stop token not among them; `visit` sees each as it comes. Holds every block in the compute
/// dtype and runs the whole sequence anew for each token: for checking models, not for serving them. Throws
/// InvalidArgument for an empty prompt, Numerical if logits are not finite.
std::vector<int64_t> generate(const model::WeightView& weights, const std::vector<int64_t>& prompt,
                              const GenerationSettings& settings, const backend::Compute& compute,
                              const std::function<void(int64_t)>& visit = {});

}  // namespace freelunch::evaluate
