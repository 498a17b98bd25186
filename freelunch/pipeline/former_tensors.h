#pragma once
#include <ATen/core/TensorBody.h>

#include <string>

#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// The versions that tensors of a scratch file had before a stage, kept in that file until it is known
/// whether the new ones stay. A tensor that the file did not hold keeps a mark instead.

/// Moves the current version aside. Does nothing if the tensor has a former version already. The caller then
/// puts the new version: until it does, a tensor that was there is missing.
void keep_former(model::TensorFile& scratch, const std::string& tensor);
/// The former version of a tensor, fp32 on the CPU; undefined if it has none, or if the file did not hold it.
at::Tensor former_version(const model::TensorFile& scratch, const std::string& tensor);
/// Whether the file did not hold the tensor before the stage, and does now.
bool was_added(const model::TensorFile& scratch, const std::string& tensor);
/// Puts one tensor back to its former version, or removes it if the file did not hold it.
void restore_former(model::TensorFile& scratch, const std::string& tensor);
/// Does so with all.
void restore_former(model::TensorFile& scratch);
/// Drops the former versions.
void drop_former(model::TensorFile& scratch);

}  // namespace freelunch::pipeline
