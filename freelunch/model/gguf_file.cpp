#include "freelunch/model/gguf_file.h"

#include <set>
#include <string_view>

#include "freelunch/architecture/gguf_keys.h"
#include "freelunch/base/error.h"

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
  std::string names;
  int64_t count = 0;
  for (const checkpoint::TensorInfo& info : file.tensors()) {
    const bool beside = config.positions == PositionKind::kRotary && is_known_beside_weights(info.name);
    if (known.contains(info.name) || beside) continue;
    if (++count <= 8) names += (names.empty() ? "'" : ", '") + info.name + "'";
  }
  if (count == 0) return;
  fail(ErrorKind::kUnsupported, "{}: {} {} {}{} not supported for {}; the model computes with {}", name,
       count == 1 ? "the tensor" : "the tensors", names,
       count > 8 ? fmt::format("and {} more ", count - 8) : "", count == 1 ? "is" : "are",
       config.architecture, count == 1 ? "it" : "them");
}

}  // namespace freelunch::model
