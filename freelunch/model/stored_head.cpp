#include "freelunch/model/stored_head.h"

#include <algorithm>
#include <vector>

#include "freelunch/base/error.h"
#include "freelunch/model/layout.h"

namespace freelunch::model {
namespace {

using checkpoint::Checkpoint;
using checkpoint::TensorInfo;

bool same_values(const Checkpoint& files, const TensorInfo& a, const TensorInfo& b) {
  if (a.shape != b.shape || a.shape.size() != 2) return false;
  constexpr int64_t kElements = int64_t{1} << 22;  // compared at a time
  const int64_t step = std::max<int64_t>(1, kElements / std::max<int64_t>(1, a.shape[1]));
  bool same = true;
  std::vector<float> left;
  std::vector<float> right;
  for (int64_t row = 0; same && row < a.shape[0]; row += step) {
    const int64_t rows = std::min(step, a.shape[0] - row);
    left.resize(static_cast<size_t>(rows * a.shape[1]));
    right.resize(left.size());
    files.read_f32_rows(a, row, rows, left);
    files.read_f32_rows(b, row, rows, right);
    same = left == right;
  }
  files.release(a);
  files.release(b);
  return same;
}

NameTable with_embedding_under(NameTable names, std::string_view head) {
  for (RoleName& name : names.roles) {
    if (name.role == WeightRole::kEmbedding) name.name = head;
  }
  return names;
}

}  // namespace

StoredHead find_head(const Checkpoint& files, const Config& config, const NameTable& names,
                     const std::string& where) {
  const std::string embedding_name = role_name(names, WeightRole::kEmbedding, -1);
  const std::string head_name = role_name(names, WeightRole::kHead, -1);
  const TensorInfo* embedding = files.find(embedding_name);
  const TensorInfo* head = files.find(head_name);
  StoredHead result{.tied = config.tied_embeddings, .names = names, .warning = ""};
  if (embedding != nullptr && head != nullptr) {
    if (!result.tied || same_values(files, *embedding, *head)) return result;
    result.tied = false;
    result.warning = fmt::format(
        "config.json ties '{}' to the embedding, but the two differ in the files: not tied", head_name);
    return result;
  }
  const bool shared = files.shared_with(embedding_name) == head_name ||  // one of the two is stored
                      files.shared_with(head_name) == embedding_name;
  if (!result.tied && shared) {
    result.tied = true;
    result.warning = fmt::format(
        "config.json says that '{}' is not tied, but the files store one matrix for it and "
        "the embedding: tied",
        head_name);
  }
  if (result.tied && head != nullptr) result.names = with_embedding_under(names, head->name);
  if (!result.tied && embedding != nullptr) {
    fail(ErrorKind::kBadFile,
         "{}: config.json says that '{}' is not tied to the embedding, but no file holds it; incomplete "
         "download? "
         "If the embedding is the head, set \"tie_word_embeddings\": true",
         where, head_name);
  }
  return result;
}

}  // namespace freelunch::model
