#pragma once
#include <ATen/core/TensorBody.h>

#include <map>
#include <string>
#include <vector>

#include "freelunch/checkpoint/checkpoint.h"

namespace freelunch::model {

/// The tensors of a model that another program holds in memory, in the place of a folder's files. It holds
/// references, no copies. Not for use while that program changes them.
class LiveTensors : public checkpoint::Checkpoint {
 public:
  struct Named {
    std::string name;  ///< as in the model's folder
    at::Tensor tensor;
  };
  /// Tensors of the same memory, shape and strides are one, stored under the first of their names. Each
  /// tensor gets the file that transformers would save it in. Throws InvalidArgument, naming the tensor, if a
  /// name is used twice or if a tensor has no values (the device `meta`), is not strided or has a dtype that
  /// no file holds.
  explicit LiveTensors(const std::vector<Named>& tensors);

  const std::vector<checkpoint::TensorInfo>& tensors() const override { return infos_; }
  /// A view of a contiguous tensor on the CPU; of any other, a copy of the rows that hold the bytes.
  std::span<const std::byte> bytes(const checkpoint::TensorInfo& tensor, uint64_t begin, uint64_t size,
                                   std::vector<std::byte>& buffer) const override;
  std::string shared_with(const std::string& name) const override;

  /// Throws Numerical, naming the tensor, if its dtype cannot hold one of the values.
  void check_values(const checkpoint::TensorInfo& tensor, const at::Tensor& values) const;
  /// Replaces the tensor's values, rounded to nearest. `values` fp32 on the CPU, of the tensor's shape.
  void write(const checkpoint::TensorInfo& tensor, const at::Tensor& values) const;

  /// SHA-256 of names, dtypes, shapes and values, hexadecimal. Throws Interrupted on request.
  std::string sha256() const;

 private:
  const at::Tensor& tensor_of(const checkpoint::TensorInfo& info) const;

  std::vector<checkpoint::TensorInfo> infos_;
  std::vector<at::Tensor> tensors_;               ///< one for each of infos_
  std::map<std::string, std::string> stored_as_;  ///< other names of a tensor -> its first name
};

}  // namespace freelunch::model
