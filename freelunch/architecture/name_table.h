#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// The name of a role's tensor in a file format. In names of experts' tensors "{e}" is the expert.
struct RoleName {
  WeightRole::Kind role;
  std::string_view name;         ///< of the tensor, or in reports if the tensor is part of a larger one
  std::string_view stored = {};  ///< the larger tensor, e.g. "self_attn.qkv_proj.weight"; empty: none
};

/// How several roles lie in the rows of one stored tensor.
enum class Fusion {
  kStacked,  ///< one after the other, in the table's order
  kPerHead   ///< head by head: q, k and v of the first head, then those of the next
};

/// The tensor names of one architecture in one file format, and how the format stores tensors.
struct NameTable {
  std::vector<RoleName> roles = {};
  std::vector<RoleName> experts = {};                   ///< gate, up and down of an expert
  std::string_view block_prefix = "model.layers.{b}.";  ///< prefix of names in a block; "{b}" is the block
  /// Prefix of all names that files of the whole model have and files of its body alone do not have.
  std::string_view base_prefix = {};
  Fusion fusion = Fusion::kStacked;
  bool transposed = false;      ///< matrices in blocks are stored (in, out)
  bool rotary_pairs = false;    ///< rows of q and k are permuted in each head: rotary pairs are neighbours
  bool norms_plus_one = false;  ///< stores 1 + w for norms where the Hugging Face format stores w

  /// nullptr if this format has no name for it.
  const RoleName* find(WeightRole role) const;
};

/// True for buffers of old Hugging Face files that follow from the configuration, such as causal masks.
bool is_derived_buffer(std::string_view name);

/// `names` with `changes`: entries of the same role are replaced, others are added at the end.
std::vector<RoleName> with(std::vector<RoleName> names, const std::vector<RoleName>& changes);

/// The names in Hugging Face folders of Llama and of most architectures after it.
const std::vector<RoleName>& llama_names();
/// The names in GGUF files, as llama.cpp writes them.
const std::vector<RoleName>& gguf_names();

/// A GGUF name table: gguf_names() with changes.
NameTable gguf_table(const std::vector<RoleName>& changes = {});
/// `names` with NameTable::rotary_pairs set.
NameTable rotary_pairs(NameTable names);
/// `names` with NameTable::norms_plus_one set.
NameTable norms_plus_one(NameTable names);
/// Changes for GGUF files that hold q, k and v in one tensor.
std::vector<RoleName> gguf_fused_qkv();

}  // namespace freelunch::model
