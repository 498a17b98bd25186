#include "freelunch/model/live_tensors.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <tuple>

#include "freelunch/base/digest.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/checkpoint/shards.h"

namespace freelunch::model {
namespace {

using checkpoint::DType;
using checkpoint::TensorInfo;

constexpr uint64_t kShard = 5'000'000'000;  // as an exported folder
constexpr uint64_t kPiece = 16U << 20U;     // bytes read at a time

DType dtype_of(const LiveTensors::Named& named) {
  switch (named.tensor.scalar_type()) {
    case at::kDouble:
      return DType::kF64;
    case at::kFloat:
      return DType::kF32;
    case at::kHalf:
      return DType::kF16;
    case at::kBFloat16:
      return DType::kBF16;
    case at::kLong:
      return DType::kI64;
    case at::kInt:
      return DType::kI32;
    case at::kShort:
      return DType::kI16;
    case at::kChar:
      return DType::kI8;
    case at::kByte:
      return DType::kU8;
    case at::kBool:
      return DType::kBool;
    default:
      fail(ErrorKind::kInvalidArgument,
           "tensor '{}' has dtype {}, expected float32, float16 or bfloat16; quantised models cannot be "
           "pruned",
           named.name, c10::toString(named.tensor.scalar_type()));
  }
}

void check_usable(const LiveTensors::Named& named) {
  const at::Tensor& tensor = named.tensor;
  if (tensor.is_meta())
    fail(ErrorKind::kInvalidArgument,
         "tensor '{}' is on the device meta and has no values; load the weights, without offloading, first",
         named.name);
  if (tensor.layout() != at::kStrided)
    fail(ErrorKind::kInvalidArgument,
         "tensor '{}' is not strided (a dense tensor); convert it with to_dense() first", named.name);
}

}  // namespace

LiveTensors::LiveTensors(const std::vector<Named>& tensors) {
  using Memory = std::tuple<const void*, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Memory, std::string> first_name;
  std::set<std::string> names;
  std::vector<uint64_t> sizes;
  for (const Named& named : tensors) {
    if (!names.insert(named.name).second)
      fail(ErrorKind::kInvalidArgument, "two tensors are named '{}'", named.name);
    check_usable(named);
    const at::Tensor& tensor = named.tensor;
    const Memory memory{tensor.const_data_ptr(), tensor.sizes().vec(), tensor.strides().vec()};
    const auto [first, is_new] = first_name.emplace(memory, named.name);
    if (!is_new && tensor.numel() > 0) {
      stored_as_[named.name] = first->second;
      continue;
    }
    infos_.push_back({.name = named.name,
                      .dtype = dtype_of(named),
                      .shape = tensor.sizes().vec(),
                      .bytes = tensor.nbytes(),
                      .file = ""});
    tensors_.push_back(tensor.detach());
    sizes.push_back(tensor.nbytes());
  }
  const std::vector<size_t> groups = checkpoint::group_by_size(sizes, kShard);
  for (size_t i = 0; i < infos_.size(); ++i)
    infos_[i].file = checkpoint::shard_name("model", ".safetensors", groups[i], groups.back() + 1);
}

const at::Tensor& LiveTensors::tensor_of(const TensorInfo& info) const {
  const TensorInfo* own = find(info.name);
  if (own == nullptr || own->bytes != info.bytes)
    fail(ErrorKind::kInvalidArgument, "tensor '{}' of {} bytes is not of this model", info.name, info.bytes);
  return tensors_[static_cast<size_t>(own - infos_.data())];
}

std::span<const std::byte> LiveTensors::bytes(const TensorInfo& info, uint64_t begin, uint64_t size,
                                              std::vector<std::byte>& buffer) const {
  checkpoint::check_range(info, begin, size);
  if (size == 0) return {};
  const at::Tensor& tensor = tensor_of(info);
  if (tensor.is_cpu() && tensor.is_contiguous())
    return {static_cast<const std::byte*>(tensor.const_data_ptr()) + begin, static_cast<size_t>(size)};
  const at::NoGradGuard no_grad;
  const at::Tensor rows = tensor.dim() == 0 ? tensor.reshape({1}) : tensor;
  const uint64_t row_bytes = info.bytes / static_cast<uint64_t>(rows.size(0));
  const uint64_t first = begin / row_bytes;
  const uint64_t end = (begin + size + row_bytes - 1) / row_bytes;
  const at::Tensor piece =
      rows.narrow(0, static_cast<int64_t>(first), static_cast<int64_t>(end - first)).cpu().contiguous();
  buffer.resize(static_cast<size_t>(size));
  std::memcpy(buffer.data(),
              static_cast<const std::byte*>(piece.const_data_ptr()) + (begin - first * row_bytes),
              buffer.size());
  return buffer;
}

std::string LiveTensors::shared_with(const std::string& name) const {
  const auto it = stored_as_.find(name);
  return it == stored_as_.end() ? "" : it->second;
}

void LiveTensors::check_values(const TensorInfo& info, const at::Tensor& values) const {
  const at::Tensor& tensor = tensor_of(info);
  if (values.numel() == 0 || values.to(tensor.scalar_type()).isfinite().all().item<bool>()) return;
  fail(ErrorKind::kNumerical, "tensor '{}' holds {}, which {} cannot hold; choose bf16 or f32", info.name,
       values.abs().max().item<float>(), checkpoint::name(info.dtype));
}

void LiveTensors::write(const TensorInfo& info, const at::Tensor& values) const {
  const at::NoGradGuard no_grad;
  tensor_of(info).copy_(values);
}

std::string LiveTensors::sha256() const {
  Sha256 digest;
  std::vector<std::byte> buffer;
  for (const TensorInfo& info : infos_) {
    const std::string head = fmt::format("{} {} {}\n", info.name, checkpoint::name(info.dtype),
                                         checkpoint::shape_text(info.shape));
    digest.add(head.data(), head.size());
    for (uint64_t at = 0; at < info.bytes; at += kPiece) {
      throw_if_interrupted();
      const auto piece = bytes(info, at, std::min(kPiece, info.bytes - at), buffer);
      digest.add(piece.data(), piece.size());
    }
  }
  return digest.hex();
}

}  // namespace freelunch::model
