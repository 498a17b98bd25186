#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "freelunch/base/enum_names.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::evaluate {

struct GenerationSettings {
  int64_t tokens = 64;             ///< upper limit
  std::vector<int64_t> stop = {};  ///< the tokens that end the text: EOS and others
};

/// Why a text ended.
enum class Ending {
  kTokens,    ///< it has as many tokens as were asked for
  kStop,      ///< a stop token followed
  kPositions  ///< the model has learned no position for another token
};
inline constexpr EnumNames<Ending, 3> kEndingNames{
    {{Ending::kTokens, "tokens"}, {Ending::kStop, "end-of-text"}, {Ending::kPositions, "positions"}}};

struct GeneratedTokens {
  std::vector<int64_t> tokens;  ///< without the stop token
  Ending ending = Ending::kTokens;
};

/// Continues a prompt greedily: each token is the one with the largest logit, the first of equals. `visit` is
/// called with each token as soon as it is known. Holds all blocks in the compute dtype and recomputes the
/// whole sequence for each token: meant for checking models, not for serving them. Throws InvalidArgument for
/// an empty prompt and for one longer than the positions that the model has learned, Numerical if a logit is
/// not finite.
GeneratedTokens generate(const model::WeightView& weights, const std::vector<int64_t>& prompt,
                         const GenerationSettings& settings, const backend::Compute& compute,
                         const std::function<void(int64_t)>& visit = {});

}  // namespace freelunch::evaluate
