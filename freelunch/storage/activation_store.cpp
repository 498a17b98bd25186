#include "freelunch/storage/activation_store.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "freelunch/backend/backend.h"

namespace freelunch::model {
namespace {

std::vector<int64_t> range(int64_t begin, int64_t n) {
  std::vector<int64_t> windows(static_cast<size_t>(std::max<int64_t>(0, n)));
  std::iota(windows.begin(), windows.end(), begin);
  return windows;
}

}  // namespace

at::ScalarType kept_dtype(const ActivationSettings& settings, at::ScalarType dtype) {
  return dtype == at::kFloat ? settings.dtype : dtype;
}

ActivationStore::ActivationStore(const ActivationSettings& settings, std::vector<int64_t> shape,
                                 at::ScalarType dtype, at::Device device)
    : shape_(std::move(shape)), dtype_(dtype), device_(device) {
  const at::ScalarType kept = kept_dtype(settings, dtype);
  if (settings.placement == ActivationPlacement::kDisk) {
    offloaded_ = activations_in_file(settings.folder, shape_, kept, device);
  } else if (settings.placement == ActivationPlacement::kHost && backend::of(device).pinned_memory()) {
    offloaded_ = activations_in_pinned_memory(shape_, kept, device);
  } else {
    values_ = at::empty(shape_, at::TensorOptions().dtype(kept).device(device));
  }
}

ActivationStore::ActivationStore(at::Tensor values)
    : shape_(values.sizes().vec()),
      dtype_(values.scalar_type()),
      device_(values.device()),
      values_(std::move(values)) {}

ActivationStore::~ActivationStore() = default;
ActivationStore::ActivationStore(ActivationStore&&) noexcept = default;
ActivationStore& ActivationStore::operator=(ActivationStore&&) noexcept = default;

int64_t ActivationStore::windows() const { return shape_[0]; }
int64_t ActivationStore::length() const { return shape_[1]; }
int64_t ActivationStore::width() const { return shape_[2]; }
at::Device ActivationStore::device() const { return device_; }

at::Tensor ActivationStore::read(int64_t begin, int64_t n) const {
  if (!offloaded_) return values_.narrow(0, begin, n).to(dtype_);
  const at::Tensor values = offloaded_->take(range(begin, n));
  offloaded_->start(range(begin + n, std::min(n, windows() - begin - n)));
  return values.to(dtype_);
}

at::Tensor ActivationStore::read(std::span<const int64_t> windows) const {
  if (offloaded_) return offloaded_->take({windows.begin(), windows.end()}).to(dtype_);
  const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(windows.data(), windows.size()));
  return values_.index_select(0, index.to(device_)).to(dtype_);
}

void ActivationStore::prefetch(std::span<const int64_t> windows) const {
  if (offloaded_) offloaded_->start({windows.begin(), windows.end()});
}

void ActivationStore::write(int64_t begin, const at::Tensor& values) {
  if (!offloaded_) {
    values_.narrow(0, begin, values.size(0)).copy_(values);
    return;
  }
  const int64_t end = begin + values.size(0);
  const auto& ahead = offloaded_->ahead();
  if (std::any_of(ahead.begin(), ahead.end(), [&](int64_t w) { return w >= begin && w < end; }))
    offloaded_->forget();
  offloaded_->put(begin, values.detach());
}

}  // namespace freelunch::model
