#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// What of a model structured pruning keeps. Absent: all of it.
struct ShapeRequest {
  /// Of the MLP's channels, and of each expert's: a share if at most 1, otherwise a number of channels.
  std::optional<double> mlp = {};
  std::optional<int64_t> kv_groups = {};  ///< KV heads, each with the query heads that read it
  std::optional<int64_t> heads = {};      ///< query heads, the same number for each KV head
  std::optional<int64_t> experts = {};    ///< of each block with a mixture
  std::optional<int64_t> blocks = {};     ///< of the model

  bool asks() const { return mlp || kv_groups || heads || experts || blocks; }
};

/// The configuration of the smaller model.
///
/// A share of channels is rounded to a multiple of 256 (128 below 4,096 channels, less for tiny models): then
/// every GGUF quantisation and every GEMM takes the size as it is. Throws InvalidArgument, naming the engine
/// that would refuse the result and the nearest size that works, for
///   - a number of channels that is not a multiple of 32, the block of GGUF's quantised types
///   - heads that do not form equal groups, or that no key of config.json can declare
///   - heads of an architecture whose readers derive the head size from the width (Architecture::heads)
///   - fewer experts than each token is routed to
///   - as many or more units than there are.
/// A llama whose heads do not divide the width becomes a mistral: transformers refuses the shape under the
/// name llama and computes the same function under the name mistral.
/// Of the blocks it keeps the first ones; only_blocks() takes others.
Config shrunk(const Config& config, const ShapeRequest& request);

/// `config` with these of its blocks, ascending.
Config only_blocks(const Config& config, const std::vector<int64_t>& kept);

/// What differs, for a person: "mlp 1536 -> 1152, kv heads 3 -> 2".
std::string shape_change(const Config& before, const Config& after);

}  // namespace freelunch::model
