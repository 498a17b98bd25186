#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/checkpoint/gguf/gguf.h"
#include "freelunch/model/layout.h"

namespace freelunch::model {

/// The GGUF of a folder that holds model.gguf, or its splits, instead of config.json.
std::optional<std::filesystem::path> gguf_inside(const std::filesystem::path& folder);

/// A GGUF file holds nothing but what its readers compute with. So a tensor that is neither in `stored`, the
/// tensors of the architecture, nor known beside them is a part of the model that would be left out: throws
/// Unsupported, with the file's `name` and the first such tensors.
void refuse_unknown_tensors(const checkpoint::GgufCheckpoint& file, const std::vector<StoredTensor>& stored,
                            const Config& config, const std::string& name);

}  // namespace freelunch::model
