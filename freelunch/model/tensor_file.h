#pragma once
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <string>

namespace freelunch::model {

/// Tensors kept in a scratch file instead of memory: the weights that a run has changed, and their masks.
/// Read and written whole, by name; a tensor written again must keep its shape and dtype. The file is
/// removed with the object. Throws Io when the disk refuses.
class TensorFile {
 public:
  explicit TensorFile(std::filesystem::path path);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  /// Keeps a copy at `path` that load() reads, with `path`.json as its table of contents, written last.
  void save(const std::filesystem::path& path) const;
  /// Replaces everything by a copy of what was saved. Throws BadFile if that is torn or not ours.
  void load(const std::filesystem::path& path);

  bool has(const std::string& name) const { return entries_.contains(name); }
  /// Any device and layout; kept as contiguous bytes.
  void put(const std::string& name, const at::Tensor& tensor);
  /// A fresh CPU tensor.
  at::Tensor get(const std::string& name) const;

 private:
  struct Entry {
    int64_t offset;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
  };

  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t end_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace freelunch::model
