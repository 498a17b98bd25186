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

/// One tensor of the model under its Hugging Face name, whatever the file format. Either it has a role, even
/// if the file stores several roles in one tensor, or the architecture does not know it.
struct ModelTensor {
  std::string name;         ///< Hugging Face name
  std::string stored_name;  ///< name in the checkpoint
  std::vector<int64_t> shape;
  checkpoint::DType stored_dtype;
  checkpoint::DType saved_dtype;   ///< dtype in a Hugging Face folder made from this model
  TensorSlice slice;               ///< in the stored tensor
  int64_t block = -1;              ///< -1: outside the blocks
  std::optional<WeightRole> role;  ///< none: unknown to the architecture, copied unchanged
};

/// One tensor of the model in a tensor to be saved.
struct SavedPart {
  const ModelTensor* tensor;
  TensorSlice slice;  ///< in the saved tensor
};

/// A tensor of a Hugging Face folder or a GGUF file made from a model.
struct SavedTensor {
  std::string name;
  std::string file;  ///< the input's file that holds it; empty if the input has another format
  std::vector<int64_t> shape;
  checkpoint::DType dtype;       ///< in a Hugging Face folder
  std::vector<SavedPart> parts;  ///< the tensors it is assembled from; empty: unknown to the architecture
  /// The input's tensor with the same elements in the same order, to be copied if no part has changed; null
  /// if there is none.
  const checkpoint::TensorInfo* source;

  /// Whether it is one tensor of the model, not permuted, transposed or shifted.
  bool is_one_part() const {
    return parts.size() == 1 && parts[0].slice.is_whole(shape, parts[0].tensor->shape);
  }
};

/// A dense model on disk: its configuration and its tensors, which are read one at a time through a memory
/// map.
class LanguageModel {
 public:
  /// Opens a Hugging Face folder (dense, or a sparse archive), a GGUF file, or a folder with model.gguf in
  /// place of config.json. Throws what the readers throw, BadFile naming the first tensor that the
  /// architecture needs and the checkpoint lacks or holds in another shape, and Unsupported if such a tensor
  /// has a dtype that is not read.
  static std::unique_ptr<LanguageModel> open(const std::filesystem::path& path);
  /// Opens a Hugging Face folder whose tensors are elsewhere: `tensors` stands in for its safetensors files.
  static std::unique_ptr<LanguageModel> open(const std::filesystem::path& path,
                                             std::shared_ptr<const checkpoint::Checkpoint> tensors);

  const Config& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }
  /// What was assumed about the files or passed over in them, one line each, for the user.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// The tokens that end a text, at which generation stops: eos_token_id of generation_config.json if it has
  /// one, else of config.json; of GGUF, the tokens EOS, EOT and EOM. Only ids that the embedding has.
  const std::vector<int64_t>& end_tokens() const { return end_tokens_; }
  const std::vector<ModelTensor>& tensors() const { return tensors_; }
  /// nullptr if this model has none. Block -1 stands for the tensors outside the blocks.
  const ModelTensor* find(int64_t block, WeightRole role) const;
  /// The tensors of a block, in the order of the forward pass.
  std::vector<const ModelTensor*> block_tensors(int64_t block) const;
  /// Throws BadFile if there is none of this Hugging Face name.
  const ModelTensor& at(const std::string& name) const;
  const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
  /// The GGUF file that this model was opened from; null for a Hugging Face folder.
  const checkpoint::GgufCheckpoint* gguf() const { return gguf_; }
  /// The number of elements of all tensors.
  int64_t parameters() const;
  /// The tensors of a Hugging Face folder made from this model, in the order of the input's files.
  std::vector<SavedTensor> hugging_face_tensors() const;
  /// The tensors of a GGUF file made from this model. If the model is a GGUF file, the tensors of that file
  /// in its order, otherwise those that the architecture knows, in the order of the forward pass. Throws
  /// Unsupported if GGUF has no form for the architecture.
  std::vector<SavedTensor> gguf_tensors() const;

  /// The whole tensor, fp32 on the CPU. Throws BadFile if it holds NaN or infinity.
  at::Tensor read(const ModelTensor& tensor) const;
  /// Rows of a matrix by index: (number of rows, columns), fp32 on the CPU. Throws BadFile as read() does,
  /// and for an index outside the matrix.
  at::Tensor read_rows(const ModelTensor& tensor, const std::vector<int64_t>& rows) const;
  /// `rows` consecutive rows from `first` on.
  at::Tensor read_rows(const ModelTensor& tensor, int64_t first, int64_t rows) const;
  const ModelTensor& embedding() const { return *find(-1, WeightRole::kEmbedding); }
  /// The LM head's matrix; the embedding if the two are tied.
  const ModelTensor& head() const;

 private:
  void require_finite(const at::Tensor& data, const ModelTensor& tensor) const;
  /// Opens the folder's tensors, unless there are tensors already, and lays them out by its configuration.
  void open_folder();
  void open_gguf();
  void add(ModelTensor tensor);
  /// GGUF writers store norms and biases in F32 whatever the model's dtype. Those that the model's dtype
  /// holds exactly get it back as their saved dtype.
  void restore_dtypes();
  /// Whether a 16-bit dtype holds the tensor's values exactly.
  bool fits(const ModelTensor& tensor, checkpoint::DType dtype) const;
  void add_parts(const StoredTensor& stored, const NameTable& named);
  void check_blocks(const NameTable& names) const;
  void check_complete(const std::vector<StoredTensor>& needed) const;
  void warn_of_unknown();
  void set_end_tokens(const std::vector<int64_t>& ids);
  SavedTensor saved_from(const StoredTensor& stored) const;

  std::filesystem::path path_;
  std::shared_ptr<const checkpoint::Checkpoint> checkpoint_;
  const checkpoint::GgufCheckpoint* gguf_ = nullptr;
  Config config_;
  std::vector<ModelTensor> tensors_;
  std::map<std::string, size_t> by_name_;
  std::map<std::pair<int64_t, WeightRole>, size_t> by_role_;
  std::vector<StoredTensor> folder_;  ///< layout of the known tensors in a Hugging Face folder
  /// Index into `folder_` by name in the checkpoint, if that is a Hugging Face folder. The names can differ:
  /// a tied matrix may be stored under the name of the head.
  std::map<std::string, size_t> folder_by_stored_name_;
  std::vector<int64_t> end_tokens_;
  std::vector<std::string> warnings_;
};

}  // namespace freelunch::model
