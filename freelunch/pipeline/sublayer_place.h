#pragma once
#include <cstdint>
#include <string>

#include "freelunch/base/error.h"  // fmt
#include "freelunch/model/block.h"

namespace freelunch::pipeline {

/// One sublayer of one block.
struct SublayerPlace {
  int64_t block;
  model::Sublayer sublayer;

  /// "blocks.3.mlp", as reports and the journal name it.
  std::string name() const { return fmt::format("blocks.{}.{}", block, model::name(sublayer)); }
};

}  // namespace freelunch::pipeline
