#include "freelunch/model/gguf_file.h"

#include <set>
#include <string_view>

#include "freelunch/architecture/gguf_keys.h"
#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::model {

namespace fs = std::filesystem;

std::optional<fs::path> gguf_inside(const fs::path& folder) {
  if (fs::exists(folder / "config.json")) return std::nullopt;
  if (fs::exists(folder / "model.gguf")) return folder / "model.gguf";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model-00001-of-") && name.ends_with(".gguf")) return entry.path();
  }
  return std::nullopt;
}

void refuse_unknown_tensors(const checkpoint::GgufCheckpoint& file, const std::vector<StoredTensor>& stored,
                            const Config& config, const std::string& name) {
  std::set<std::string_view> known;
  for (const StoredTensor& tensor : stored) known.insert(tensor.name);
  std::vector<std::string> unknown;
  for (const checkpoint::TensorInfo& info : file.tensors()) {
    const bool rotary = config.positions == PositionKind::kRotary && holds_rotary_frequencies(info.name);
    if (!known.contains(info.name) && !rotary) unknown.push_back(info.name);
  }
  if (unknown.empty()) return;
  const bool one = unknown.size() == 1;
  fail(ErrorKind::kUnsupported, "{}: {} {} {} not supported for {}; the model computes with {}", name,
       one ? "the tensor" : "the tensors", first_of(unknown, 8), one ? "is" : "are", config.architecture,
       one ? "it" : "them");
}

}  // namespace freelunch::model
