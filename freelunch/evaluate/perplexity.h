#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "freelunch/base/enum_names.h"
#include "freelunch/base/sinks.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::evaluate {

/// How a text is cut into windows, and which predictions are scored.
enum class Protocol {
  kPapers,   ///< windows without overlap; all tokens but the first are scored
  kLlamaCpp  ///< windows without overlap, BOS as first token if there is one; the second half is scored
};
inline constexpr EnumNames<Protocol, 2> kProtocolNames{
    {{Protocol::kPapers, "papers"}, {Protocol::kLlamaCpp, "llama.cpp"}}};

struct PerplexitySettings {
  Protocol protocol = Protocol::kPapers;
  int64_t length = 2048;           ///< tokens per window, at least 2
  std::optional<int64_t> windows;  ///< upper limit; absent: all
  bool from_end = false;           ///< use the last windows of the text instead of the first
  std::optional<int64_t> bos;      ///< kLlamaCpp: replaces the first token of each window
};

struct Perplexity {
  double perplexity = 0;  ///< exp of the mean of -log p over the scored tokens of all windows
  int64_t tokens = 0;     ///< in the windows used, scored or not
  int64_t windows = 0;
  int64_t length = 0;  ///< tokens per window
};

/// Perplexity over a token stream. The windows go through the model in groups whose residual stream takes
/// kStreamBytes, and each block is read once per group; memory holds a group's stream, one block or the head,
/// and the tokens. Throws InvalidArgument if a window is shorter than 2 or longer than the text or if
/// `windows` is below 1, Numerical if the result is not finite, Interrupted on request.
Perplexity perplexity(const model::WeightView& weights, const std::vector<int64_t>& tokens,
                      const PerplexitySettings& settings, const backend::Compute& compute,
                      ProgressSink& progress);

}  // namespace freelunch::evaluate
