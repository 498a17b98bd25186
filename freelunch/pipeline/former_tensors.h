#pragma once
#include <string>

#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// The versions that tensors of a scratch file had before a stage, kept in that file until it is known
/// whether the new ones stay. A tensor that the file did not hold keeps a mark instead.

/// Moves the current version aside. Does nothing if the tensor has a former version already. The caller then
/// puts the new version: until it does, a tensor that was there is missing.
void keep_former(model::TensorFile& scratch, const std::string& tensor);
/// Puts every tensor back to its former version, and removes those that the file did not hold.
void restore_former(model::TensorFile& scratch);
/// Drops the former versions.
void drop_former(model::TensorFile& scratch);

}  // namespace freelunch::pipeline
