#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>
#include <utility>

#include "freelunch/storage/offloaded_activations.h"

namespace freelunch::model {
namespace {

/// The windows that are copied ahead, and the event that ends the copy.
struct Ahead {
  std::vector<int64_t> windows;
  at::Tensor values;
  std::optional<c10::Event> done;
};

class PinnedWindows final : public OffloadedActivations {
 public:
  PinnedWindows(const std::vector<int64_t>& shape, at::ScalarType kept, at::Device device)
      : device_(device),
        streams_(device.type()),
        copying_(streams_.getStreamFromGlobalPool(device, /*isHighPriority=*/false)),
        values_(at::empty(shape, at::TensorOptions().dtype(kept).pinned_memory(true))) {}
  ~PinnedWindows() override {
    // the stream may still read what the destructor is about to free
    if (ahead_.done) ahead_.done->synchronize();
    streams_.synchronizeStream(streams_.getStream(device_));
  }
  PinnedWindows(const PinnedWindows&) = delete;
  PinnedWindows& operator=(const PinnedWindows&) = delete;

  at::Tensor take(const std::vector<int64_t>& windows) override {
    if (ahead_.windows != windows) start(windows);
    Ahead found = std::exchange(ahead_, Ahead());
    if (found.done) found.done->block(streams_.getStream(device_));
    return found.values;
  }

  void start(const std::vector<int64_t>& windows) override {
    forget();
    if (windows.empty()) return;
    ahead_.windows = windows;
    // Allocated on the caller's stream, which waits for the copies before it reads, and so before it frees.
    ahead_.values = at::empty({static_cast<int64_t>(windows.size()), values_.size(1), values_.size(2)},
                              values_.options().device(device_).pinned_memory(false));
    // Earlier work of the caller's stream may write these windows, or read what this memory held before.
    wait(copying_, streams_.getStream(device_));
    {
      const c10::StreamGuard guard(copying_);
      for (size_t i = 0; i < windows.size(); ++i)
        ahead_.values[static_cast<int64_t>(i)].copy_(values_[windows[i]], /*non_blocking=*/true);
    }
    ahead_.done.emplace(device_.type());
    ahead_.done->record(copying_);
  }

  void forget() override {
    if (ahead_.done) ahead_.done->block(streams_.getStream(device_));
    ahead_ = Ahead();
  }

  const std::vector<int64_t>& ahead() const override { return ahead_.windows; }

  void put(int64_t begin, const at::Tensor& values) override {
    // the copying stream may still read what is overwritten here; it is never far behind
    wait(streams_.getStream(device_), copying_);
    values_.narrow(0, begin, values.size(0)).copy_(values.to(values_.scalar_type()), /*non_blocking=*/true);
  }

 private:
  /// `later` waits for the work that `earlier` has been given so far.
  void wait(const c10::Stream& later, const c10::Stream& earlier) const {
    c10::Event told(device_.type());
    told.record(earlier);
    told.block(later);
  }

  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream copying_;
  at::Tensor values_;
  Ahead ahead_;
};

}  // namespace

std::unique_ptr<OffloadedActivations> activations_in_pinned_memory(const std::vector<int64_t>& shape,
                                                                   at::ScalarType kept, at::Device device) {
  return std::make_unique<PinnedWindows>(shape, kept, device);
}

}  // namespace freelunch::model
