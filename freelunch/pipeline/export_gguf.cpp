#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/shards.h"
#include "model/architecture.h"
#include "model/gguf_names.h"
#include "pipeline/export.h"
#include "pipeline/gguf_metadata_of.h"
#include "pipeline/tensor_pieces.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using checkpoint::GgufMetadata;
using checkpoint::GgufValue;
using model::ModelTensor;

constexpr const char* kRopeFrequencies = "rope_freqs.weight";

/// A tensor of the file: one of the model; one that only the input's GGUF knows, which is copied; or
/// rope_freqs.weight made from the configuration.
struct Planned {
  checkpoint::TensorPlan plan;
  const ModelTensor* tensor = nullptr;
  const checkpoint::TensorInfo* copied = nullptr;
  StoredAs as;
};

uint64_t bytes_of(const checkpoint::TensorPlan& plan) {
  return checkpoint::bytes_for(plan.dtype, checkpoint::element_count(plan.shape).value()).value();
}

/// The dtype in the file: norms and biases F32; what came as GGUF and did not change as it is.
DType dtype_of(const model::Weights& weights, const ModelTensor& tensor, const OutputOptions& options) {
  if (!checkpoint::converts_to_f32(tensor.stored_dtype)) return tensor.stored_dtype;
  if (weights.dense().gguf() != nullptr && !options.dtype && !weights.changed(tensor))
    return tensor.stored_dtype;
  if (tensor.shape.size() < 2) return DType::kF32;
  const DType dtype = options.dtype.value_or(tensor.saved_dtype);
  const bool whole_blocks = tensor.shape.back() % checkpoint::block_elements(dtype) == 0;
  return whole_blocks ? dtype : DType::kF16;
}

/// Buffers that old Hugging Face files hold and that follow from the configuration.
bool is_derived(const ModelTensor& tensor) { return tensor.name.ends_with(".rotary_emb.inv_freq"); }

/// What a GGUF holds beyond the model's tensors, such as rope_freqs.weight.
std::vector<Planned> plan_copies(const model::LanguageModel& model) {
  std::set<std::string_view> known;
  for (const ModelTensor& tensor : model.tensors()) known.insert(tensor.stored_name);
  std::vector<Planned> planned;
  for (const checkpoint::TensorInfo& info : model.checkpoint().tensors()) {
    if (!known.contains(info.name))
      planned.push_back({.plan = {info.name, info.dtype, info.shape}, .copied = &info});
  }
  return planned;
}

/// Puts tensors in the order of the file that they came from, so that a copy is a copy.
void keep_order(std::vector<Planned>& planned, const model::LanguageModel& model) {
  std::map<std::string_view, size_t> position;
  for (const checkpoint::TensorInfo& info : model.checkpoint().tensors())
    position.emplace(info.name, position.size());
  std::sort(planned.begin(), planned.end(), [&](const Planned& a, const Planned& b) {
    return position.at(a.plan.name) < position.at(b.plan.name);
  });
}

std::vector<Planned> plan_tensors(const model::Weights& weights, const OutputOptions& options) {
  const model::LanguageModel& model = weights.dense();
  const bool interleaves =
      model::architecture_of_model_type(model.config().architecture, "model").gguf_permutes_rotary;
  std::vector<Planned> planned;
  if (model.gguf() != nullptr) {
    planned = plan_copies(model);
  } else if (model.config().rope_scaling.kind == model::RopeScalingKind::kLlama3) {
    planned.push_back({.plan = {kRopeFrequencies, DType::kF32, {model.config().head_dim / 2}}});
  }
  for (const ModelTensor& tensor : model.tensors()) {
    const bool second_head = model.config().tied_embeddings && tensor.name == "lm_head.weight";
    if (is_derived(tensor) || second_head) continue;
    const auto name = model::gguf_name(tensor);
    if (!name)
      fail(ErrorKind::kUnsupported, "GGUF has no name for tensor '{}' of architecture '{}'", tensor.name,
           model.config().architecture);
    const DType dtype = dtype_of(weights, tensor, options);
    planned.push_back(
        {.plan = {*name, dtype, tensor.shape},
         .tensor = &tensor,
         .as = {.dtype = dtype, .interleaved = interleaves, .plain_zeros = options.plain_zeros}});
  }
  if (model.gguf() != nullptr) keep_order(planned, model);
  return planned;
}

/// llama.cpp's number of the dtype that most weights have (enum llama_ftype), where it has one.
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
                           bool dtypes_kept) {
  GgufMetadata metadata = gguf_metadata_of(model);
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.remove(key);
  const auto type = file_type(tensors);
  // K-quants come in mixtures whose number only their writer knows
  if (type && !(dtypes_kept && metadata.has("general.file_type")))
    metadata.set("general.file_type", GgufValue::uint32(*type));
  const bool quantised = std::any_of(tensors.begin(), tensors.end(), [](const Planned& planned) {
    return checkpoint::is_quantised(planned.plan.dtype);
  });
  if (quantised) metadata.set("general.quantization_version", GgufValue::uint32(2));
  return metadata;
}

/// The metadata of one of several files: all of it stands in the first.
GgufMetadata split_metadata(const GgufMetadata& whole, size_t index, size_t count, size_t tensors) {
  GgufMetadata metadata;
  if (index == 0) metadata = whole;
  metadata.set("split.no", GgufValue::uint16(static_cast<uint16_t>(index)));
  metadata.set("split.count", GgufValue::uint16(static_cast<uint16_t>(count)));
  metadata.set("split.tensors.count", GgufValue::int32(static_cast<int32_t>(tensors)));
  return metadata;
}

void write_tensor(const model::Weights& weights, const Planned& planned, checkpoint::TensorWriter& writer) {
  if (planned.copied != nullptr) {
    std::vector<std::byte> room;
    return writer.write(planned.plan.name,
                        weights.dense().checkpoint().bytes(*planned.copied, 0, planned.copied->bytes, room));
  }
  if (planned.tensor == nullptr) {
    const std::vector<double> divisors = model::llama3_divisors(weights.config());
    const std::vector<float> values(divisors.begin(), divisors.end());
    return writer.write(planned.plan.name, std::as_bytes(std::span(values)));
  }
  for_each_piece(weights, *planned.tensor, planned.as,
                 [&](std::span<const std::byte> piece) { writer.append(planned.plan.name, piece); });
}

std::vector<size_t> groups_of(const std::vector<Planned>& tensors, const OutputOptions& options) {
  std::vector<uint64_t> sizes;
  for (const Planned& planned : tensors) sizes.push_back(bytes_of(planned.plan));
  return checkpoint::group_by_size(sizes, options.shard_bytes.value_or(UINT64_MAX));
}

}  // namespace

void export_gguf(const OpenedModel& opened, const model::Weights& weights, const fs::path& file,
                 const OutputOptions& options, ProgressSink& progress) {
  const std::vector<Planned> tensors = plan_tensors(weights, options);
  const std::vector<size_t> groups = groups_of(tensors, options);
  const size_t files = groups.empty() ? 1 : groups.back() + 1;
  const bool dtypes_kept = std::all_of(tensors.begin(), tensors.end(), [](const Planned& planned) {
    return planned.tensor == nullptr || planned.as.dtype == planned.tensor->stored_dtype;
  });
  const GgufMetadata metadata = file_metadata(*opened.model, tensors, dtypes_kept);
  const std::string stem = (file.parent_path() / file.stem()).string();
  progress.begin("save", static_cast<int64_t>(tensors.size()), "tensors");
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
      progress.advance(++done, "");
    }
    writer.finish();
  }
  progress.end();
}

}  // namespace freelunch::pipeline
