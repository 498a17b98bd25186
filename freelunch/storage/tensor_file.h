#pragma once
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace freelunch::model {

/// Tensors in a scratch file instead of memory: the weights that a run has changed, and their masks. They are
/// written and read whole, by name. A tensor that is written again must keep its shape and dtype. Throws Io
/// if the disk fails.
///
/// A tensor that is written again never overwrites the bytes that settle() made final, but goes to another
/// place. So if the process dies, the state of the last settle() is intact, and adopt() restores it in a
/// later process.
class TensorFile {
 public:
  enum class Lifetime {
    kObject,  ///< starts empty, removed with the object
    kFolder   ///< stays as long as its folder; empty until adopt()
  };
  /// The place and the contents of a tensor.
  struct Entry {
    int64_t offset = 0;
    at::ScalarType dtype = at::kFloat;
    std::vector<int64_t> shape;
    std::string sha256;  ///< empty in a file of Lifetime::kObject
  };
  /// Changes since the last settle(): tensors written, and names erased.
  struct Changes {
    std::map<std::string, Entry> written;
    std::vector<std::string> erased;
  };

  explicit TensorFile(std::filesystem::path path, Lifetime lifetime = Lifetime::kObject);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  /// Writes a copy to `path` for load(). Its table of contents, `path`.json, is written last.
  void save(const std::filesystem::path& path) const;
  /// Replaces the contents by what save() wrote. Throws BadFile if the copy is incomplete or not ours.
  void load(const std::filesystem::path& path);

  bool has(const std::string& name) const { return entries_.contains(name); }
  /// Takes any device and layout, stores contiguous bytes. Throws InvalidArgument if the name is there with
  /// another shape or dtype.
  void put(const std::string& name, const at::Tensor& tensor);
  /// A new CPU tensor. Throws InvalidArgument if there is none of this name.
  at::Tensor get(const std::string& name) const;
  /// Removes a tensor, if there is one of this name.
  void erase(const std::string& name);
  /// Gives a tensor another name, and removes the tensor that had it.
  void rename(const std::string& from, const std::string& to);
  /// All names that start with `prefix`, in order.
  std::vector<std::string> names(const std::string& prefix = "") const;

  /// Writes everything to the disk and returns the changes. The caller records them, then calls settle().
  Changes flush();
  /// Makes the current contents final.
  void settle();
  /// Whether the bytes of an entry have its digest.
  bool intact(const Entry& entry) const;
  /// Takes over the file of an earlier process: `entries` as recorded from flush(), and `former`, the earlier
  /// places of the same tensors, which may be overwritten.
  void adopt(std::map<std::string, Entry> entries, std::map<std::string, Entry> former);

 private:
  int64_t place_for(const std::string& name, int64_t bytes);
  at::Tensor read(const Entry& entry) const;

  std::filesystem::path path_;
  Lifetime lifetime_;
  int descriptor_ = -1;
  int64_t end_ = 0;
  std::map<std::string, Entry> entries_, settled_;
  std::set<std::string> changed_;  ///< names that may differ between entries_ and settled_
  std::set<std::string> fresh_;    ///< names whose bytes are not part of settled_
  /// The other place of each name, with what it held before. It may be overwritten. A run falls back on it if
  /// the newer bytes are damaged.
  std::map<std::string, Entry> former_;
  std::multimap<int64_t, int64_t> free_;  ///< bytes -> offset of space without a tensor
};

}  // namespace freelunch::model
