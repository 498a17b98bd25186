#pragma once
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "model/block.h"
#include "model/config.h"

namespace freelunch::model {

/// A tensor of the model under its Hugging Face name, wherever it comes from.
struct ModelTensor {
  std::string name;         ///< Hugging Face name
  std::string stored_name;  ///< name in the checkpoint
  std::vector<int64_t> shape;
  checkpoint::DType stored_dtype;
  checkpoint::DType saved_dtype;  ///< dtype in a Hugging Face folder made from this model
  int64_t rotary_heads =
      0;               ///< > 0: rows are stored as interleaved pairs per head and are put back on reading
  int64_t block = -1;  ///< -1: outside the blocks
  std::optional<Part> part;  ///< which part of its block
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
  const ModelTensor* find(int64_t block, Part part) const;
  const ModelTensor& at(const std::string& name) const;
  const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
  /// The GGUF file behind this model, or null for a folder.
  const checkpoint::GgufCheckpoint* gguf() const { return gguf_; }
  int64_t parameters() const;

  /// The whole tensor, fp32 on the CPU. Throws BadFile if it holds NaN or infinity.
  at::Tensor read(const ModelTensor& tensor) const;
  /// Rows of a matrix by index, fp32 on the CPU: rows (n) -> (n, columns). Throws BadFile as read() does, and
  /// for an index outside the matrix.
  at::Tensor read_rows(const ModelTensor& tensor, const std::vector<int64_t>& rows) const;
  /// `rows` consecutive ones from `first` on.
  at::Tensor read_rows(const ModelTensor& tensor, int64_t first, int64_t rows) const;
  const ModelTensor& embedding() const { return at("model.embed_tokens.weight"); }
  const ModelTensor& final_norm() const { return at("model.norm.weight"); }
  /// The LM head's matrix: lm_head.weight, or the embedding where they are tied.
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
  void check_complete() const;

  std::filesystem::path path_;
  std::unique_ptr<checkpoint::Checkpoint> checkpoint_;
  const checkpoint::GgufCheckpoint* gguf_ = nullptr;
  Config config_;
  std::vector<ModelTensor> tensors_;
  std::map<std::string, size_t> by_name_;
  std::map<std::pair<int64_t, Part>, size_t> by_part_;
};

}  // namespace freelunch::model
