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

/// How a text becomes windows, and what is scored.
enum class Protocol {
  kPapers,  ///< windows of the model's length that do not overlap; every next token scored; mean over windows
  kLlamaCpp  ///< windows of 512, BOS in front of each if the vocabulary adds one; the second half scored
};
inline constexpr EnumNames<Protocol, 2> kProtocolNames{
    {{Protocol::kPapers, "papers"}, {Protocol::kLlamaCpp, "llama.cpp"}}};

struct PerplexitySettings {
  Protocol protocol = Protocol::kPapers;
  int64_t length = 2048;           ///< tokens a window
  std::optional<int64_t> windows;  ///< how many at most; all if absent
  bool from_end = false;           ///< the last windows of the text instead of the first
  std::optional<int64_t> bos;      ///< put in front of each window under llama.cpp's protocol
};

struct Perplexity {
  double perplexity = 0;
  int64_t tokens = 0;  ///< in the windows used
  int64_t windows = 0;
  int64_t length = 0;
};

/// Perplexity over a token stream. Blocks are read once for as many windows as have 64 MiB of residual
/// stream: memory holds these, one block or the head, and the tokens. Throws InvalidArgument if there are
/// fewer tokens than one window.
Perplexity perplexity(const model::WeightView& weights, const std::vector<int64_t>& tokens,
                      const PerplexitySettings& settings, const backend::Compute& compute,
                      ProgressSink& progress);

}  // namespace freelunch::evaluate
