#include "model/layout.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

namespace freelunch::model {
namespace {

std::string replaced(std::string text, std::string_view what, int64_t by) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), std::to_string(by));
}

std::string full_name(const NameTable& names, std::string_view name, Part part, int64_t block) {
  const std::string prefix = is_in_block(part) ? std::string(names.block_prefix) : std::string();
  return replaced(replaced(prefix + std::string(name), "{b}", block), "{e}", part.expert);
}

const PartName& name_of(const NameTable& names, Part part) {
  const PartName* found = names.find(part);
  if (found == nullptr)
    fail(ErrorKind::kUnsupported, "this file format has no tensor for one that the architecture needs");
  return *found;
}

void add_norm(std::vector<Part>& parts, const Config& c, Part::Kind weight) {
  parts.emplace_back(weight);
  if (c.norm == NormKind::kLayer) parts.push_back(bias_of(weight));
}

void add_matrix(std::vector<Part>& parts, Part matrix, bool bias) {
  parts.push_back(matrix);
  if (bias) parts.push_back(bias_of(matrix));
}

/// The norm before a half, or the one after the sum, which goes by the same part.
bool has_first_norm(const Config& c) { return c.norm_place != NormPlace::kAfter; }
bool has_post_norm(const Config& c) {
  return c.norm_place == NormPlace::kAfter || c.norm_place == NormPlace::kBeforeAndAfter;
}

/// Where the parts of a stored tensor lie in it, and what shape it has.
void place(StoredTensor& tensor, const Config& config, const NameTable& names, bool shared) {
  int64_t rows = 0;
  for (const StoredPart& part : tensor.parts) rows += part.shape[0];
  const bool per_head = tensor.parts.size() > 1 && names.fusion == Fusion::kPerHead;
  int64_t offset = 0;
  for (StoredPart& stored : tensor.parts) {
    const Part part = stored.part;
    Placement& p = stored.placement;
    p.groups = per_head ? config.heads : 1;
    p.group_rows = rows / p.groups;
    p.offset = offset;
    offset += stored.shape[0] / p.groups;
    p.transposed = names.transposed && is_matrix(part);
    if (names.rotary_pairs && (part.kind == Part::kQuery || part.kind == Part::kQueryBias))
      p.rotary_heads = config.heads;
    if (names.rotary_pairs && (part.kind == Part::kKey || part.kind == Part::kKeyBias))
      p.rotary_heads = config.kv_heads;
    if (names.norms_plus_one && is_norm(part)) p.plus = 1;
  }
  tensor.shape = tensor.parts[0].shape;
  tensor.shape[0] = rows;
  if (tensor.parts[0].placement.transposed) std::swap(tensor.shape[0], tensor.shape[1]);
  if (shared && tensor.parts[0].part.expert >= 0) {  // a stack: (experts, out, in)
    const auto experts = static_cast<int64_t>(tensor.parts.size());
    tensor.shape[0] /= experts;
    tensor.shape.insert(tensor.shape.begin(), experts);
  }
}

at::Tensor rows_of(const at::Tensor& stored, const Placement& p, int64_t rows) {
  const at::Tensor all = p.transposed ? stored.t() : stored.dim() == 3 ? stored.flatten(0, 1) : stored;
  return all.unflatten(0, {p.groups, p.group_rows}).narrow(1, p.offset, rows / p.groups);
}

}  // namespace

std::vector<Part> outer_parts(const Config& c) {
  std::vector<Part> parts{Part::kEmbedding};
  if (c.embedding_width != c.width) parts.emplace_back(Part::kProjectIn);
  if (c.positions == PositionKind::kLearned) parts.emplace_back(Part::kPositions);
  if (c.final_norm) add_norm(parts, c, Part::kFinalNorm);
  if (c.embedding_width != c.width) parts.emplace_back(Part::kProjectOut);
  if (!c.tied_embeddings) parts.emplace_back(Part::kHead);
  return parts;
}

std::vector<Part> block_parts(const Config& c, int64_t block) {
  std::vector<Part> parts;
  if (has_first_norm(c)) add_norm(parts, c, Part::kAttentionNorm);
  for (const Part::Kind matrix : {Part::kQuery, Part::kKey, Part::kValue})
    add_matrix(parts, matrix, c.qkv_bias);
  if (c.head_norm != HeadNorm::kNone) parts.insert(parts.end(), {Part::kQueryNorm, Part::kKeyNorm});
  add_matrix(parts, Part::kOutput, c.output_bias);
  if (has_post_norm(c)) parts.emplace_back(Part::kAttentionPostNorm);
  if (has_first_norm(c)) add_norm(parts, c, Part::kMlpNorm);
  if (c.has_experts(block)) {
    parts.emplace_back(Part::kRouter);
    for (int32_t e = 0; e < c.experts.count; ++e)
      for (const Part::Kind matrix : {Part::kGate, Part::kUp, Part::kDown}) parts.emplace_back(matrix, e);
  } else {
    if (c.gated) add_matrix(parts, Part::kGate, c.mlp_bias);
    add_matrix(parts, Part::kUp, c.mlp_bias);
    add_matrix(parts, Part::kDown, c.mlp_bias);
  }
  if (has_post_norm(c)) parts.emplace_back(Part::kMlpPostNorm);
  return parts;
}

std::vector<int64_t> shape_of(const Config& c, Part part) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  const int64_t inner = part.expert < 0 ? c.intermediate : c.experts.intermediate;
  const bool each = c.head_norm == HeadNorm::kEach;
  switch (part.kind) {
    case Part::kEmbedding:
    case Part::kHead:
      return {c.vocabulary, c.embedding_width};
    case Part::kPositions:
      return {c.max_length + c.position_offset, c.width};
    case Part::kProjectIn:
      return {c.width, c.embedding_width};
    case Part::kProjectOut:
      return {c.embedding_width, c.width};
    case Part::kQuery:
      return {q, c.width};
    case Part::kKey:
    case Part::kValue:
      return {kv, c.width};
    case Part::kOutput:
      return {c.width, q};
    case Part::kQueryBias:
      return {q};
    case Part::kKeyBias:
    case Part::kValueBias:
      return {kv};
    case Part::kQueryNorm:
      return {each ? c.head_dim : q};
    case Part::kKeyNorm:
      return {each ? c.head_dim : kv};
    case Part::kRouter:
      return {c.experts.count, c.width};
    case Part::kGate:
    case Part::kUp:
      return {inner, c.width};
    case Part::kGateBias:
    case Part::kUpBias:
      return {inner};
    case Part::kDown:
      return {c.width, inner};
    default:  // norms, and biases of what goes back to the stream
      return {c.width};
  }
}

bool Placement::whole(const std::vector<int64_t>& stored, const std::vector<int64_t>& part) const {
  return groups == 1 && stored == part && !transposed && rotary_heads == 0 && plus == 0;
}

std::string part_name(const NameTable& names, Part part, int64_t block) {
  return full_name(names, name_of(names, part).name, part, block);
}

std::string stored_name(const NameTable& names, Part part, int64_t block) {
  const PartName& name = name_of(names, part);
  return full_name(names, name.stored.empty() ? name.name : name.stored, part, block);
}

std::vector<StoredTensor> layout(const Config& config, const NameTable& names) {
  std::vector<StoredTensor> result;
  std::map<std::string, size_t> index;
  std::vector<bool> shared;
  const auto add = [&](Part part, int64_t block) {
    const PartName& name = name_of(names, part);
    const std::string stored = stored_name(names, part, block);
    const auto [it, fresh] = index.try_emplace(stored, result.size());
    if (fresh) {
      result.push_back({.name = stored, .shape = {}, .parts = {}});
      shared.push_back(!name.stored.empty());
    }
    result[it->second].parts.push_back({.part = part,
                                        .block = block,
                                        .name = full_name(names, name.name, part, block),
                                        .shape = shape_of(config, part),
                                        .placement = {}});
  };
  const std::vector<Part> outer = outer_parts(config);
  const auto after =
      std::find_if(outer.begin(), outer.end(), [](Part p) { return p.kind >= Part::kFinalNorm; });
  std::for_each(outer.begin(), after, [&](Part part) { add(part, -1); });
  for (int64_t b = 0; b < config.blocks; ++b) {
    for (const Part part : block_parts(config, b)) add(part, b);
  }
  std::for_each(after, outer.end(), [&](Part part) { add(part, -1); });
  for (size_t i = 0; i < result.size(); ++i) place(result[i], config, names, shared[i]);
  return result;
}

at::Tensor extract(const at::Tensor& stored, const Placement& placement, const std::vector<int64_t>& shape) {
  at::Tensor part = rows_of(stored, placement, shape[0]).reshape(shape);
  if (placement.rotary_heads > 0) {
    std::vector<int64_t> pairs{placement.rotary_heads, shape[0] / placement.rotary_heads / 2, 2};
    pairs.insert(pairs.end(), shape.begin() + 1, shape.end());
    part = part.view(pairs).transpose(1, 2).reshape(shape);
  }
  return placement.plus == 0 ? part : part - placement.plus;
}

void insert(const at::Tensor& part, const Placement& placement, at::Tensor& stored) {
  at::Tensor value = placement.plus == 0 ? part : part + placement.plus;
  if (placement.rotary_heads > 0) {
    std::vector<int64_t> halves{placement.rotary_heads, 2, part.size(0) / placement.rotary_heads / 2};
    halves.insert(halves.end(), part.sizes().begin() + 1, part.sizes().end());
    value = value.reshape(halves).transpose(1, 2).reshape(part.sizes());
  }
  at::Tensor rows = rows_of(stored, placement, part.size(0));
  rows.copy_(value.reshape(rows.sizes()));
}

}  // namespace freelunch::model
