#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "freelunch/model/weight_view.h"

namespace freelunch::evaluate {

struct GenerationSettings {
  int64_t tokens = 64;          ///< upper limit
  std::optional<int64_t> stop;  ///< the token that ends the text: EOS
};

/// Continues a prompt greedily: each token is the one with the largest logit, the first of equals. Returns
/// the new tokens without the stop token; `visit` is called with each token as soon as it is known. Holds all
/// blocks in the compute dtype and recomputes the whole sequence for each token: meant for checking models,
/// not for serving them. Throws InvalidArgument for an empty prompt, Numerical if a logit is not finite.
std::vector<int64_t> generate(const model::WeightView& weights, const std::vector<int64_t>& prompt,
                              const GenerationSettings& settings, const backend::Compute& compute,
                              const std::function<void(int64_t)>& visit = {});

}  // namespace freelunch::evaluate
