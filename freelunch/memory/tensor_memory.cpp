#include "freelunch/memory/tensor_memory.h"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <mutex>
#include <unordered_map>

namespace freelunch::pipeline {
namespace {

constexpr size_t kSmallest = 256UL << 10U;  // bytes; smaller tensors are left to LibTorch's own allocator
constexpr size_t kStep = 64UL << 10U;       // sizes are rounded up to a multiple of this
constexpr size_t kIdle = 32UL << 20U;       // idle memory that is always allowed

class TensorMemory;
TensorMemory*& installed() {
  static TensorMemory* memory = nullptr;
  return memory;
}

/// LibTorch also frees memory by its address alone (raw_deallocate), so the context of a DataPtr is the
/// address, and a table holds the sizes.
class TensorMemory final : public c10::Allocator {
 public:
  explicit TensorMemory(c10::Allocator& below) : below_(below) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kSmallest) return below_.allocate(bytes);
    const size_t size = (bytes + kStep - 1) / kStep * kStep;
    void* data = take(size);
    if (data == nullptr) {
      data = below_.raw_allocate(size);
      const std::lock_guard lock(mutex_);
      used_.emplace(data, size);
    }
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    drop_beyond(0);
  }

 private:
  struct Idle {
    size_t size;
    void* data;
  };

  /// Takes idle memory of this size, or returns null. Takes the block freed last, which may still be in a
  /// cache. Counts the size as in use either way.
  void* take(size_t size) {
    const std::lock_guard lock(mutex_);
    in_use_ += size;
    const auto found =
        std::find_if(idle_.rbegin(), idle_.rend(), [size](const Idle& idle) { return idle.size == size; });
    if (found == idle_.rend()) return nullptr;
    void* data = found->data;
    idle_.erase(std::next(found).base());
    idle_bytes_ -= size;
    used_.emplace(data, size);
    return data;
  }

  static void give_back(void* data) { installed()->keep(data); }

  void keep(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return below_.raw_deallocate(data);  // a small tensor, freed by its address
    const size_t size = found->second;
    used_.erase(found);
    in_use_ -= size;
    idle_bytes_ += size;
    idle_.push_back({.size = size, .data = data});
    drop_beyond(std::max(kIdle, in_use_ / 8));
  }

  void drop_beyond(size_t bytes) {
    while (idle_bytes_ > bytes) {
      idle_bytes_ -= idle_.front().size;
      below_.raw_deallocate(idle_.front().data);
      idle_.pop_front();
    }
  }

  c10::Allocator& below_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> used_;
  std::deque<Idle> idle_;  // in the order of their freeing
  size_t idle_bytes_ = 0;
  size_t in_use_ = 0;
};

}  // namespace

void reuse_tensor_memory() {
  if (installed() != nullptr) return;
  // never destroyed: tensors may outlive everything else
  installed() = new TensorMemory(*c10::GetCPUAllocator());
  c10::SetCPUAllocator(installed(), /*priority=*/1);
}

void release_tensor_memory() {
  if (installed() != nullptr) installed()->release();
}

}  // namespace freelunch::pipeline
