#pragma once
#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace freelunch::model {

/// Tensors kept in a scratch file instead of memory: the weights that a run has changed, and their masks.
/// Read and written whole, by name; a tensor written again must keep its shape and dtype. Throws Io when the
/// disk refuses.
///
/// A tensor that is written again goes beside what settle() made final, never over it. So a process that dies
/// leaves the state of its last settle() whole, and adopt() puts a later process there.
class TensorFile {
 public:
  enum class Lifetime {
    kObject,  ///< starts empty, removed with the object
    kFolder   ///< stays as long as its folder; what it holds counts once adopt() says so
  };
  /// Where the bytes of a tensor are, and what they are.
  struct Entry {
    int64_t offset = 0;
    at::ScalarType dtype = at::kFloat;
    std::vector<int64_t> shape;
    std::string sha256;  ///< empty in a file of Lifetime::kObject
  };
  /// What happened since the last settle(): tensors written, and names that are gone.
  struct Changes {
    std::map<std::string, Entry> written;
    std::vector<std::string> erased;
  };

  explicit TensorFile(std::filesystem::path path, Lifetime lifetime = Lifetime::kObject);
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
  /// Forgets a tensor.
  void erase(const std::string& name);
  /// Moves a tensor to a name, whatever that held.
  void rename(const std::string& from, const std::string& to);
  /// All names that start with `prefix`, in order.
  std::vector<std::string> names(const std::string& prefix = "") const;

  /// Puts everything on the disk and says what changed. The caller records that, then calls settle().
  Changes flush();
  void resolve_plan();
  /// Whether the bytes at an entry are those that it says.
  bool intact(const Entry& entry) const;
  /// The contents, as recorded from flush() by an earlier process, and where each tensor was before that:
  /// places to write to.
  void adopt(std::map<std::string, Entry> entries, std::map<std::string, Entry> former);

 private:
  int64_t place_for(const std::string& name, int64_t bytes);
  at::Tensor read(const Entry& entry) const;

  std::filesystem::path path_;
  Lifetime lifetime_;
  int descriptor_ = -1;
  int64_t end_ = 0;
  std::map<std::string, Entry> entries_, settled_;
  std::set<std::string> changed_;  ///< names that may differ between the two
  std::set<std::string> fresh_;    ///< names whose bytes no settled name refers to
  /// Each name's other place, with what it held before: free to be written to, and what a run falls back on
  /// where the newer bytes turn out damaged.
  std::map<std::string, Entry> former_;
  std::multimap<int64_t, int64_t> free_;  ///< bytes -> offset, of tensors that are gone
};

}  // namespace freelunch::model
