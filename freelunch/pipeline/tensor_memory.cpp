#include "pipeline/tensor_memory.h"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>

namespace freelunch::pipeline {
namespace {

constexpr size_t kSmallest = 256UL << 10U;  // bytes: smaller ones are the C library's business
constexpr size_t kStep = 64UL << 10U;       // sizes are rounded up to this
constexpr size_t kIdle = 32UL << 20U;

class TensorMemory final : public c10::Allocator {
 public:
  explicit TensorMemory(c10::Allocator& below) : below_(below) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kSmallest) return below_.allocate(bytes);
    const size_t size = (bytes + kStep - 1) / kStep * kStep;
    c10::DataPtr memory = take(size);
    if (!memory) memory = below_.allocate(size);
    void* data = memory.get();
    auto* block = new Block{this, size, std::move(memory)};
    return {data, block, &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  void release() {
    const std::lock_guard lock(mutex_);
    drop_beyond(0);
  }

 private:
  struct Block {
    TensorMemory* owner;
    size_t size;
    c10::DataPtr memory;
  };
  struct Idle {
    size_t size;
    c10::DataPtr memory;
  };

  /// Idle memory of that size, the latest freed, which may still be in a cache; or null.
  c10::DataPtr take(size_t size) {
    const std::lock_guard lock(mutex_);
    in_use_ += size;
    const auto found =
        std::find_if(idle_.rbegin(), idle_.rend(), [size](const Idle& idle) { return idle.size == size; });
    if (found == idle_.rend()) return {};
    c10::DataPtr memory = std::move(found->memory);
    idle_.erase(std::next(found).base());
    idle_bytes_ -= size;
    return memory;
  }

  static void give_back(void* pointer) {
    const std::unique_ptr<Block> block(static_cast<Block*>(pointer));
    block->owner->keep(*block);
  }

  void keep(Block& block) {
    const std::lock_guard lock(mutex_);
    in_use_ -= block.size;
    idle_bytes_ += block.size;
    idle_.push_back({.size = block.size, .memory = std::move(block.memory)});
    drop_beyond(std::max(kIdle, in_use_ / 8));
  }

  void drop_beyond(size_t bytes) {
    while (idle_bytes_ > bytes) {
      idle_bytes_ -= idle_.front().size;
      idle_.pop_front();
    }
  }

  c10::Allocator& below_;
  std::mutex mutex_;
  std::deque<Idle> idle_;  // the longest idle first
  size_t idle_bytes_ = 0;
  size_t in_use_ = 0;
};

TensorMemory*& installed() {
  static TensorMemory* memory = nullptr;
  return memory;
}

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
