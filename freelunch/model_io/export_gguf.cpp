#include <algorithm>
#include <map>
#include <optional>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/gguf_rope.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/checkpoint/gguf/gguf_writer.h"
#include "freelunch/checkpoint/shards.h"
#include "freelunch/model_io/export.h"
#include "freelunch/model_io/gguf_metadata.h"
#include "freelunch/model_io/tensor_pieces.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using checkpoint::GgufMetadata;
using checkpoint::GgufValue;
using model::ModelTensor;
using model::SavedTensor;

/// A tensor of the file: one of the model's, one that only the input's GGUF has and that is copied, or one of
/// rotary frequencies, which follows from the configuration.
struct Planned {
  checkpoint::TensorPlan plan;
  std::optional<SavedTensor> tensor = {};
  StoredAs as = {};
  std::vector<float> values = {};  ///< of a tensor of rotary frequencies
};

uint64_t bytes_of(const checkpoint::TensorPlan& plan) {
  return checkpoint::bytes_for(plan.dtype, checkpoint::element_count(plan.shape).value()).value();
}

/// llama.cpp requires F32 for norms and biases (which have one dimension), routers and learned positions.
bool wants_f32(const SavedTensor& tensor) {
  if (tensor.shape.size() < 2) return true;
  const auto& role = tensor.parts[0].tensor->role;
  return role && (role->kind == model::WeightRole::kRouter || role->kind == model::WeightRole::kPositions);
}

/// The dtype in the file. An unchanged tensor of a GGUF input keeps its dtype.
DType dtype_of(const model::WeightView& weights, const SavedTensor& tensor, const OutputOptions& options) {
  if (tensor.parts.empty()) return tensor.source->dtype;
  const bool from_gguf = weights.dense().gguf() != nullptr;
  if (from_gguf && !checkpoint::converts_to_f32(tensor.source->dtype)) return tensor.source->dtype;
  if (from_gguf && !options.dtype && !weights.changed(tensor)) return tensor.source->dtype;
  if (wants_f32(tensor)) return DType::kF32;
  const DType dtype = options.dtype.value_or(tensor.dtype);
  const bool whole_blocks = tensor.shape.back() % checkpoint::block_elements(dtype) == 0;
  return whole_blocks ? dtype : DType::kF16;
}

/// Refuses a folder with a tensor that the architecture does not know.
void refuse_unknown(const model::LanguageModel& model) {
  const model::Architecture& architecture =
      model::architecture_of_model_type(model.config().architecture, "model");
  const model::RoleName* head = architecture.hugging_face.find(model::WeightRole::kHead);
  for (const ModelTensor& tensor : model.tensors()) {
    const bool second_head = model.config().tied_embeddings && head != nullptr && tensor.name == head->name;
    if (tensor.role || model::is_derived_buffer(tensor.name) || second_head) continue;
    fail(ErrorKind::kUnsupported, "GGUF has no name for tensor '{}' of architecture '{}'", tensor.name,
         model.config().architecture);
  }
}

/// The tensors that hold a scaling of rotary positions, and their values.
std::map<const char*, std::vector<float>> rope_tensors(const model::Config& config) {
  const model::LayerType& type = config.layer_types[0];
  const model::RopeScaling& scaling = type.rope_scaling;
  const auto rounded = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  if (scaling.kind == model::RopeScalingKind::kLlama3)
    return {{model::kRopeFrequencies,
             rounded(model::llama3_divisors(type.rope_theta, scaling, config.rotary_dim()))}};
  if (scaling.kind == model::RopeScalingKind::kLongRope)
    return {{model::kRopeShortFactors, rounded(scaling.short_factors)},
            {model::kRopeLongFactors, rounded(scaling.long_factors)}};
  return {};
}

std::vector<Planned> plan_tensors(const model::WeightView& weights, const OutputOptions& options) {
  const model::LanguageModel& model = weights.dense();
  std::vector<Planned> planned;
  if (model.gguf() == nullptr) {
    refuse_unknown(model);
    for (auto& [name, values] : rope_tensors(model.config()))
      planned.push_back(
          {.plan = {name, DType::kF32, {static_cast<int64_t>(values.size())}}, .values = values});
  }
  for (SavedTensor& tensor : model.gguf_tensors()) {
    const DType dtype = dtype_of(weights, tensor, options);
    const bool plain_zeros = options.plain_zeros && !tensor.parts.empty();
    planned.push_back({.plan = {tensor.name, dtype, tensor.shape},
                       .tensor = std::move(tensor),
                       .as = {.dtype = dtype, .plain_zeros = plain_zeros}});
  }
  return planned;
}

/// llama.cpp's number (enum llama_ftype) for the dtype that most weights have, if it has one.
std::optional<uint32_t> file_type(const std::vector<Planned>& tensors) {
  static const std::map<DType, uint32_t> kTypes{{DType::kF32, 0},  {DType::kF16, 1},     {DType::kQ4_0, 2},
                                                {DType::kQ4_1, 3}, {DType::kQ8_0, 7},    {DType::kQ5_0, 8},
                                                {DType::kQ5_1, 9}, {DType::kIQ4_NL, 25}, {DType::kBF16, 32}};
  std::map<DType, int64_t> elements;
  for (const Planned& planned : tensors)
    elements[planned.plan.dtype] += checkpoint::element_count(planned.plan.shape).value();
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto it = most == elements.end() ? kTypes.end() : kTypes.find(most->first);
  return it == kTypes.end() ? std::nullopt : std::optional(it->second);
}

GgufMetadata file_metadata(const model::LanguageModel& model, const std::vector<Planned>& tensors,
                           bool dtypes_kept, LogSink& log) {
  GgufMetadata metadata = gguf_metadata_of(model, log);
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.remove(key);
  const auto type = file_type(tensors);
  // a K-quant file mixes dtypes, and only its writer knows the number of the mixture
  if (type && !(dtypes_kept && metadata.has("general.file_type")))
    metadata.set("general.file_type", GgufValue::uint32(*type));
  const bool quantised = std::any_of(tensors.begin(), tensors.end(), [](const Planned& planned) {
    return checkpoint::is_quantised(planned.plan.dtype);
  });
  if (quantised) metadata.set("general.quantization_version", GgufValue::uint32(2));
  return metadata;
}

/// The metadata of one of several files: the first has all of it, the others only the split's keys.
GgufMetadata split_metadata(const GgufMetadata& whole, size_t index, size_t count, size_t tensors) {
  GgufMetadata metadata;
  if (index == 0) metadata = whole;
  metadata.set("split.no", GgufValue::uint16(static_cast<uint16_t>(index)));
  metadata.set("split.count", GgufValue::uint16(static_cast<uint16_t>(count)));
  metadata.set("split.tensors.count", GgufValue::int32(static_cast<int32_t>(tensors)));
  return metadata;
}

void write_tensor(const model::WeightView& weights, const Planned& planned,
                  checkpoint::TensorWriter& writer) {
  if (!planned.tensor) return writer.write(planned.plan.name, std::as_bytes(std::span(planned.values)));
  for_each_piece(weights, *planned.tensor, planned.as,
                 [&](std::span<const std::byte> piece) { writer.append(planned.plan.name, piece); });
}

std::vector<size_t> groups_of(const std::vector<Planned>& tensors, const OutputOptions& options) {
  std::vector<uint64_t> sizes;
  for (const Planned& planned : tensors) sizes.push_back(bytes_of(planned.plan));
  return checkpoint::group_by_size(sizes, options.shard_bytes.value_or(UINT64_MAX));
}

}  // namespace

void export_gguf(const OpenedModel& opened, const model::WeightView& weights, const fs::path& file,
                 const OutputOptions& options, Sinks sinks) {
  const std::vector<Planned> tensors = plan_tensors(weights, options);
  const std::vector<size_t> groups = groups_of(tensors, options);
  const size_t files = groups.empty() ? 1 : groups.back() + 1;
  const bool dtypes_kept = std::all_of(tensors.begin(), tensors.end(), [](const Planned& planned) {
    return !planned.tensor || std::all_of(planned.tensor->parts.begin(), planned.tensor->parts.end(),
                                          [&](const model::SavedPart& role) {
                                            return role.tensor->stored_dtype == planned.as.dtype;
                                          });
  });
  const GgufMetadata metadata = file_metadata(*opened.model, tensors, dtypes_kept, sinks.log);
  const std::string stem = (file.parent_path() / file.stem()).string();
  sinks.progress.begin("save", static_cast<int64_t>(tensors.size()), "tensors");
  int64_t done = 0;
  for (size_t i = 0; i < files; ++i) {
    std::vector<checkpoint::TensorPlan> plan;
    for (size_t t = 0; t < tensors.size(); ++t) {
      if (groups[t] == i) plan.push_back(tensors[t].plan);
    }
    checkpoint::GgufWriter writer(checkpoint::shard_name(stem, ".gguf", i, files),
                                  files == 1 ? metadata : split_metadata(metadata, i, files, tensors.size()),
                                  plan);
    for (size_t t = 0; t < tensors.size(); ++t) {
      if (groups[t] != i) continue;
      throw_if_interrupted();
      write_tensor(weights, tensors[t], writer);
      sinks.progress.advance(++done, "");
    }
    writer.finish();
  }
  sinks.progress.end();
}

}  // namespace freelunch::pipeline
