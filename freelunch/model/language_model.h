#pragma once
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/checkpoint/checkpoint.h"
#include "freelunch/checkpoint/gguf/gguf.h"
#include "freelunch/model/block.h"
#include "freelunch/model/layout.h"

namespace freelunch::model {

/// A tensor of the model under its Hugging Face name, wherever it comes from: a part of the model alone, even
/// where the file holds several in one, or a tensor that the architecture does not know.
struct ModelTensor {
  std::string name;         ///< Hugging Face name
  std::string stored_name;  ///< name in the checkpoint
  std::vector<int64_t> shape;
  checkpoint::DType stored_dtype;
  checkpoint::DType saved_dtype;   ///< dtype in a Hugging Face folder made from this model
  TensorSlice slice;               ///< in the stored tensor
  int64_t block = -1;              ///< -1: outside the blocks
  std::optional<WeightRole> role;  ///< none: not known to the architecture, kept as it is
};

struct SavedPart {
  const ModelTensor* tensor;
  TensorSlice slice;  ///< in the saved tensor
};

/// A tensor of a Hugging Face folder or a GGUF file made from a model.
struct SavedTensor {
  std::string name;
  std::string file;  ///< of the input; empty where the input is in another format
  std::vector<int64_t> shape;
  checkpoint::DType dtype;       ///< in a Hugging Face folder
  std::vector<SavedPart> parts;  ///< that it is put together from; none: known to the input's file alone
  /// Which has the same elements in the same order where no part has changed; null if none has.
  const checkpoint::TensorInfo* source;

  /// Whether it is one tensor of the model as it stands.
  bool is_one_part() const {
    return parts.size() == 1 && parts[0].slice.is_whole(shape, parts[0].tensor->shape);
  }
};

/// A dense model on disk: its configuration and its tensors, read one at a time through the memory map.
/// Opens a Hugging Face folder (dense, or a sparse archive), a GGUF file, or a folder that holds model.gguf
/// instead of config.json. Throws what the readers throw, and BadFile naming the first
/// tensor that the architecture needs and the checkpoint lacks or holds in another shape.
class LanguageModel {
 public:
  static std::unique_ptr<LanguageModel> open(const std::filesystem::path& path);

  const Config& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }
  const std::vector<ModelTensor>& tensors() const { return tensors_; }
  /// nullptr if this model has none. Block -1 holds what lies outside the blocks.
  const ModelTensor* find(int64_t block, WeightRole role) const;
  /// A block's, in the order of the forward pass.
  std::vector<const ModelTensor*> block_tensors(int64_t block) const;
  const ModelTensor& at(const std::string& name) const;
  const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
  /// The GGUF file behind this model, or null for a folder.
  const checkpoint::GgufCheckpoint* gguf() const { return gguf_; }
  int64_t parameters() const;
  /// What a Hugging Face folder made from this model holds, in the order of the input's files.
  std::vector<SavedTensor> hugging_face_tensors() const;
  /// What a GGUF file made from this model holds: for a GGUF what it holds, in its order; for a folder the
  /// tensors that the architecture knows, in the order of the forward pass. Throws Unsupported if the format
  /// has no name for a tensor.
  std::vector<SavedTensor> gguf_tensors() const;

  /// The whole tensor, fp32 on the CPU. Throws BadFile if it holds NaN or infinity.
  at::Tensor read(const ModelTensor& tensor) const;
  /// Rows of a matrix by index, fp32 on the CPU: rows (n) -> (n, columns). Throws BadFile as read() does, and
  /// for an index outside the matrix.
  at::Tensor read_rows(const ModelTensor& tensor, const std::vector<int64_t>& rows) const;
  /// `rows` consecutive ones from `first` on.
  at::Tensor read_rows(const ModelTensor& tensor, int64_t first, int64_t rows) const;
  const ModelTensor& embedding() const { return *find(-1, WeightRole::kEmbedding); }
  /// The LM head's matrix, or the embedding where they are tied.
  const ModelTensor& head() const;

 private:
  void require_finite(const at::Tensor& data, const ModelTensor& tensor) const;
  void open_folder();
  void open_gguf();
  void add(ModelTensor tensor);
  /// GGUF writers keep norms and biases in F32 whatever the model's dtype is; where that loses nothing, they
  /// get it back.
  void restore_dtypes();
  /// Whether a 16-bit dtype holds the tensor's values exactly.
  bool fits(const ModelTensor& tensor, checkpoint::DType dtype) const;
  void add_parts(const StoredTensor& stored, const NameTable& named);
  void check_blocks(const NameTable& names) const;
  void check_complete(const std::vector<StoredTensor>& needed) const;
  SavedTensor saved_from(const StoredTensor& stored) const;

  std::filesystem::path path_;
  std::unique_ptr<checkpoint::Checkpoint> checkpoint_;
  const checkpoint::GgufCheckpoint* gguf_ = nullptr;
  Config config_;
  std::vector<ModelTensor> tensors_;
  std::map<std::string, size_t> by_name_;
  std::map<std::pair<int64_t, WeightRole>, size_t> by_role_;
  std::vector<StoredTensor> folder_;  ///< the parts of each known tensor of a Hugging Face folder
};

}  // namespace freelunch::model
