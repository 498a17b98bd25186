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

/// Refuses a file with tensors that are not in `stored`, the tensors of the architecture, and hold no rotary
/// frequencies. Readers of GGUF compute with every tensor, so such a model would be read without a part of
/// it. Throws Unsupported with the file's `name` and the first such tensors.
void refuse_unknown_tensors(const checkpoint::GgufCheckpoint& file, const std::vector<StoredTensor>& stored,
                            const Config& config, const std::string& name);

}  // namespace freelunch::model
