#include "freelunch/pipeline/former_tensors.h"

#include <ATen/ATen.h>

namespace freelunch::pipeline {
namespace {

// Prefixes of names in the scratch file: a former version, and the mark of a tensor that had none.
const std::string kFormer = "former ";
const std::string kAdded = "added ";

}  // namespace

void keep_former(model::TensorFile& scratch, const std::string& tensor) {
  if (scratch.has(kFormer + tensor) || scratch.has(kAdded + tensor)) return;
  if (scratch.has(tensor))
    scratch.rename(tensor, kFormer + tensor);  // moves no bytes
  else
    scratch.put(kAdded + tensor, at::ones({1}, at::kBool));
}

at::Tensor former_version(const model::TensorFile& scratch, const std::string& tensor) {
  return scratch.has(kFormer + tensor) ? scratch.get(kFormer + tensor) : at::Tensor();
}

bool was_added(const model::TensorFile& scratch, const std::string& tensor) {
  return scratch.has(kAdded + tensor);
}

void restore_former(model::TensorFile& scratch, const std::string& tensor) {
  if (scratch.has(kFormer + tensor)) {
    scratch.rename(kFormer + tensor, tensor);
  } else if (was_added(scratch, tensor)) {
    scratch.erase(tensor);
    scratch.erase(kAdded + tensor);
  }
}

void restore_former(model::TensorFile& scratch) {
  for (const std::string& former : scratch.names(kFormer))
    restore_former(scratch, former.substr(kFormer.size()));
  for (const std::string& added : scratch.names(kAdded)) restore_former(scratch, added.substr(kAdded.size()));
}

void drop_former(model::TensorFile& scratch) {
  for (const std::string& prefix : {kFormer, kAdded}) {
    for (const std::string& name : scratch.names(prefix)) scratch.erase(name);
  }
}

}  // namespace freelunch::pipeline
