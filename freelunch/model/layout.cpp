#include "freelunch/model/layout.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

std::string replaced(std::string text, std::string_view what, int64_t by) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), std::to_string(by));
}

std::string full_name(const NameTable& names, std::string_view name, WeightRole role, int64_t block) {
  const std::string prefix = is_in_block(role) ? std::string(names.block_prefix) : std::string();
  return replaced(replaced(prefix + std::string(name), "{b}", block), "{e}", role.expert);
}

const RoleName& name_of(const NameTable& names, WeightRole role) {
  const RoleName* found = names.find(role);
  if (found == nullptr)
    fail(ErrorKind::kUnsupported, "this file format has no name for the architecture's tensor '{}'",
         short_name(role));
  return *found;
}

void add_norm(std::vector<WeightRole>& roles, const Config& c, WeightRole::Kind weight) {
  roles.emplace_back(weight);
  if (c.norm == NormKind::kLayer) roles.push_back(bias_of(weight));
}

void add_matrix(std::vector<WeightRole>& roles, WeightRole matrix, bool bias) {
  roles.push_back(matrix);
  if (bias) roles.push_back(bias_of(matrix));
}

/// The norm before a sublayer, or the one after the sum: they share a role.
bool has_first_norm(const Config& c) { return c.norm_place != NormPlace::kAfter; }
bool has_post_norm(const Config& c) {
  return c.norm_place == NormPlace::kAfter || c.norm_place == NormPlace::kBeforeAndAfter;
}

/// Sets the slices of a stored tensor's parts, and its shape.
void place(StoredTensor& tensor, const Config& config, const NameTable& names, bool shared) {
  int64_t rows = 0;
  for (const StoredPart& part : tensor.parts) rows += part.shape[0];
  const bool per_head = tensor.parts.size() > 1 && names.fusion == Fusion::kPerHead;
  int64_t offset = 0;
  for (StoredPart& part : tensor.parts) {
    const WeightRole role = part.role;
    TensorSlice& p = part.slice;
    p.groups = per_head ? config.heads : 1;
    p.group_rows = rows / p.groups;
    p.offset = offset;
    offset += part.shape[0] / p.groups;
    p.transposed = names.transposed && is_prunable(role);
    if (names.rotary_pairs && (role.kind == WeightRole::kQuery || role.kind == WeightRole::kQueryBias))
      p.rotary_heads = config.heads;
    if (names.rotary_pairs && (role.kind == WeightRole::kKey || role.kind == WeightRole::kKeyBias))
      p.rotary_heads = config.kv_heads;
    if (names.norms_plus_one && is_norm(role)) p.plus = 1;
  }
  tensor.shape = tensor.parts[0].shape;
  tensor.shape[0] = rows;
  if (tensor.parts[0].slice.transposed) std::swap(tensor.shape[0], tensor.shape[1]);
  if (shared && tensor.parts[0].role.expert >= 0) {  // a stack: (experts, out, in)
    const auto experts = static_cast<int64_t>(tensor.parts.size());
    tensor.shape[0] /= experts;
    tensor.shape.insert(tensor.shape.begin(), experts);
  }
}

at::Tensor rows_of(const at::Tensor& stored, const TensorSlice& p, int64_t rows) {
  const at::Tensor all = p.transposed ? stored.t() : stored.dim() == 3 ? stored.flatten(0, 1) : stored;
  return all.unflatten(0, {p.groups, p.group_rows}).narrow(1, p.offset, rows / p.groups);
}

}  // namespace

std::vector<WeightRole> outer_roles(const Config& c) {
  std::vector<WeightRole> roles{WeightRole::kEmbedding};
  if (c.embedding_width != c.width) roles.emplace_back(WeightRole::kProjectIn);
  if (c.positions == PositionKind::kLearned) roles.emplace_back(WeightRole::kPositions);
  if (c.final_norm) add_norm(roles, c, WeightRole::kFinalNorm);
  if (c.embedding_width != c.width) roles.emplace_back(WeightRole::kProjectOut);
  if (!c.tied_embeddings) roles.emplace_back(WeightRole::kHead);
  return roles;
}

std::vector<WeightRole> block_roles(const Config& c, int64_t block) {
  std::vector<WeightRole> roles;
  if (has_first_norm(c)) add_norm(roles, c, WeightRole::kAttentionNorm);
  for (const WeightRole::Kind matrix : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue})
    add_matrix(roles, matrix, c.qkv_bias);
  if (c.head_norm != HeadNorm::kNone)
    roles.insert(roles.end(), {WeightRole::kQueryNorm, WeightRole::kKeyNorm});
  add_matrix(roles, WeightRole::kOutput, c.output_bias);
  if (has_post_norm(c)) roles.emplace_back(WeightRole::kAttentionPostNorm);
  if (has_first_norm(c)) add_norm(roles, c, WeightRole::kMlpNorm);
  if (c.has_experts(block)) {
    roles.emplace_back(WeightRole::kRouter);
    for (int32_t e = 0; e < c.experts.count; ++e)
      for (const WeightRole::Kind matrix : {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown})
        roles.emplace_back(matrix, e);
  } else {
    if (c.gated) add_matrix(roles, WeightRole::kGate, c.mlp_bias);
    add_matrix(roles, WeightRole::kUp, c.mlp_bias);
    add_matrix(roles, WeightRole::kDown, c.mlp_bias);
  }
  if (has_post_norm(c)) roles.emplace_back(WeightRole::kMlpPostNorm);
  return roles;
}

std::vector<int64_t> shape_of(const Config& c, int64_t /*block: sizes do not differ yet*/, WeightRole role) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  const int64_t inner = role.expert < 0 ? c.intermediate : c.experts.intermediate;
  const bool each = c.head_norm == HeadNorm::kEach;
  switch (role.kind) {
    case WeightRole::kEmbedding:
    case WeightRole::kHead:
      return {c.vocabulary, c.embedding_width};
    case WeightRole::kPositions:
      return {c.max_length + c.position_offset, c.width};
    case WeightRole::kProjectIn:
      return {c.width, c.embedding_width};
    case WeightRole::kProjectOut:
      return {c.embedding_width, c.width};
    case WeightRole::kQuery:
      return {q, c.width};
    case WeightRole::kKey:
    case WeightRole::kValue:
      return {kv, c.width};
    case WeightRole::kOutput:
      return {c.width, q};
    case WeightRole::kQueryBias:
      return {q};
    case WeightRole::kKeyBias:
    case WeightRole::kValueBias:
      return {kv};
    case WeightRole::kQueryNorm:
      return {each ? c.head_dim : q};
    case WeightRole::kKeyNorm:
      return {each ? c.head_dim : kv};
    case WeightRole::kRouter:
      return {c.experts.count, c.width};
    case WeightRole::kGate:
    case WeightRole::kUp:
      return {inner, c.width};
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
      return {inner};
    case WeightRole::kDown:
      return {c.width, inner};
    default:  // norms, and biases of o and down
      return {c.width};
  }
}

bool TensorSlice::is_whole(const std::vector<int64_t>& stored_shape,
                           const std::vector<int64_t>& shape) const {
  return groups == 1 && stored_shape == shape && !transposed && rotary_heads == 0 && plus == 0;
}

std::string role_name(const NameTable& names, WeightRole role, int64_t block) {
  return full_name(names, name_of(names, role).name, role, block);
}

std::string stored_name(const NameTable& names, WeightRole role, int64_t block) {
  const RoleName& name = name_of(names, role);
  return full_name(names, name.stored.empty() ? name.name : name.stored, role, block);
}

std::vector<StoredTensor> layout(const Config& config, const NameTable& names) {
  std::vector<StoredTensor> result;
  std::map<std::string, size_t> index;
  std::vector<bool> shared;
  const auto add = [&](WeightRole role, int64_t block) {
    const RoleName& name = name_of(names, role);
    const std::string stored = stored_name(names, role, block);
    const auto [it, fresh] = index.try_emplace(stored, result.size());
    if (fresh) {
      result.push_back({.name = stored, .shape = {}, .parts = {}});
      shared.push_back(!name.stored.empty());
    }
    result[it->second].parts.push_back({.role = role,
                                        .block = block,
                                        .name = full_name(names, name.name, role, block),
                                        .shape = shape_of(config, block, role),
                                        .slice = {}});
  };
  const std::vector<WeightRole> outer = outer_roles(config);
  const auto after = std::find_if(outer.begin(), outer.end(),
                                  [](WeightRole role) { return role.kind >= WeightRole::kFinalNorm; });
  std::for_each(outer.begin(), after, [&](WeightRole role) { add(role, -1); });
  for (int64_t b = 0; b < config.blocks; ++b) {
    for (const WeightRole role : block_roles(config, b)) add(role, b);
  }
  std::for_each(after, outer.end(), [&](WeightRole role) { add(role, -1); });
  for (size_t i = 0; i < result.size(); ++i) place(result[i], config, names, shared[i]);
  return result;
}

at::Tensor extract(const at::Tensor& stored, const TensorSlice& slice, const std::vector<int64_t>& shape) {
  at::Tensor part = rows_of(stored, slice, shape[0]).reshape(shape);
  if (slice.rotary_heads > 0) {
    std::vector<int64_t> pairs{slice.rotary_heads, shape[0] / slice.rotary_heads / 2, 2};
    pairs.insert(pairs.end(), shape.begin() + 1, shape.end());
    part = part.view(pairs).transpose(1, 2).reshape(shape);
  }
  return slice.plus == 0 ? part : part - slice.plus;
}

void insert(const at::Tensor& tensor, const TensorSlice& slice, at::Tensor& stored) {
  at::Tensor value = slice.plus == 0 ? tensor : tensor + slice.plus;
  if (slice.rotary_heads > 0) {
    std::vector<int64_t> halves{slice.rotary_heads, 2, tensor.size(0) / slice.rotary_heads / 2};
    halves.insert(halves.end(), tensor.sizes().begin() + 1, tensor.sizes().end());
    value = value.reshape(halves).transpose(1, 2).reshape(tensor.sizes());
  }
  at::Tensor rows = rows_of(stored, slice, tensor.size(0));
  rows.copy_(value.reshape(rows.sizes()));
}

}  // namespace freelunch::model
