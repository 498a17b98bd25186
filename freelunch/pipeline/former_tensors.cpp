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

void restore_former(model::TensorFile& scratch) {
  for (const std::string& former : scratch.names(kFormer))
    scratch.rename(former, former.substr(kFormer.size()));
  for (const std::string& added : scratch.names(kAdded)) scratch.erase(added.substr(kAdded.size()));
  drop_former(scratch);
}

void drop_former(model::TensorFile& scratch) {
  for (const std::string& prefix : {kFormer, kAdded}) {
    for (const std::string& name : scratch.names(prefix)) scratch.erase(name);
  }
}

}  // namespace freelunch::pipeline
