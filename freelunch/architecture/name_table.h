#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// What a file format calls a part; in names of experts' parts "{e}" is the expert.
struct RoleName {
  WeightRole::Kind role;
  std::string_view name;         ///< where the part has a tensor of its own; else what reports call it
  std::string_view stored = {};  ///< the tensor that holds it with others, e.g. "self_attn.qkv_proj.weight"
};

/// How the parts that share a stored tensor lie in its rows.
enum class Fusion {
  kStacked,  ///< one after the other, in the table's order
  kPerHead   ///< head by head: q, k and v of the first head, then of the next
};

/// The names of one architecture in one format, and how that format stores tensors.
struct NameTable {
  std::vector<RoleName> parts = {};
  std::vector<RoleName> experts = {};                   ///< gate, up and down of an expert
  std::string_view block_prefix = "model.layers.{b}.";  ///< "{b}" is the block
  /// What names outside and inside the blocks begin with in files of the whole model, but not in those of its
  /// body alone.
  std::string_view base_prefix = {};
  Fusion fusion = Fusion::kStacked;
  bool transposed = false;    ///< the blocks' matrices are stored (in, out)
  bool rotary_pairs = false;  ///< rows of q and k are permuted per head, so that rotary pairs are neighbours
  bool norms_plus_one = false;  ///< norms hold 1 + w where the Hugging Face format has w

  /// nullptr if this format has no name for it.
  const RoleName* find(WeightRole role) const;
};

/// The first list with the entries of the second put in their place or added at its end.
std::vector<RoleName> with(std::vector<RoleName> names, const std::vector<RoleName>& changes);

/// The names that llama's Hugging Face folders use, and most architectures after it.
const std::vector<RoleName>& llama_names();
/// The names that llama.cpp uses in GGUF files.
const std::vector<RoleName>& gguf_names();

/// A GGUF name table made of these; architectures change what differs.
NameTable gguf_table(const std::vector<RoleName>& changes = {});
/// The same for files whose q and k have their rotary pairs side by side.
NameTable rotary_pairs(NameTable names);
/// The same for files whose norms hold 1 + w where the Hugging Face format has w.
NameTable norms_plus_one(NameTable names);
/// Changes for files that hold q, k and v in one tensor.
std::vector<RoleName> gguf_fused_qkv();

}  // namespace freelunch::model
