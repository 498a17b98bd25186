#include "freelunch/model_io/inspection.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/gguf_keys.h"
#include "freelunch/architecture/ignored_keys.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/read_file.h"
#include "freelunch/checkpoint/bitmask/bitmask_checkpoint.h"
#include "freelunch/model/language_model.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/model_io/tensor_pieces.h"
#include "freelunch/sparsity/mask.h"

namespace freelunch::pipeline {
namespace {

using model::ModelTensor;
using model::SavedTensor;
using nlohmann::json;

struct Totals {
  int64_t zeros = 0, elements = 0;
  int64_t matrix_zeros = 0, matrix_elements = 0;
  uint64_t stored = 0, archived = 0;
  std::set<std::string> seen;          ///< tensors of the file; several tensors of the model may share one
  std::optional<std::string> pattern;  ///< of every matrix so far; empty if they differ
  bool any_matrix = false;
};

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

const char* format_of(const model::LanguageModel& model) {
  if (model.gguf() != nullptr) return "gguf";
  const bool archive = dynamic_cast<const checkpoint::BitmaskCheckpoint*>(&model.checkpoint()) != nullptr;
  return archive ? "bitmask" : "hugging-face";
}

/// Bytes of a tensor with `nonzeros` values in a sparse archive: packed if that is smaller, as export_folder
/// decides.
uint64_t bytes_in_archive(const SavedTensor& tensor, int64_t nonzeros) {
  const uint64_t dense =
      checkpoint::bytes_for(tensor.dtype, checkpoint::element_count(tensor.shape).value()).value();
  if (tensor.shape.size() != 2 || dense == 0 || !tensor.name.ends_with(".weight")) return dense;
  const checkpoint::MatrixShape shape{.rows = tensor.shape[0],
                                      .columns = tensor.shape[1],
                                      .element_bytes = checkpoint::block_bytes(tensor.dtype)};
  return std::min(dense, checkpoint::archived_bytes(shape, nonzeros));
}

/// A negative zero counts as a value, because an archive stores it.
int64_t count_nonzeros(const at::Tensor& values) {
  return values.contiguous().view(at::kInt).count_nonzero().item<int64_t>();
}

/// The same for a tensor that is assembled from several tensors of the model, or from a part of one.
uint64_t bytes_in_archive(const model::WeightView& weights, const SavedTensor& tensor) {
  return bytes_in_archive(tensor, tensor.shape.size() == 2 ? count_nonzeros(weights.assembled(tensor)) : 0);
}

void count_matrix(Totals& totals, const sparsity::Observed& seen) {
  totals.matrix_zeros += seen.zeros;
  totals.matrix_elements += seen.elements;
  const auto pattern = seen.pattern ? std::optional(sparsity::to_string(*seen.pattern)) : std::nullopt;
  if (!totals.any_matrix) totals.pattern = pattern;
  if (totals.pattern != pattern) totals.pattern.reset();
  totals.any_matrix = true;
}

/// The saved tensors that consist of exactly one whole tensor of the model.
using SavedAlone = std::map<const ModelTensor*, const SavedTensor*>;

json inspect_tensor(const model::LanguageModel& model, const ModelTensor& tensor, const SavedAlone& alone,
                    Totals& totals) {
  const checkpoint::TensorInfo& info = model.checkpoint().at(tensor.stored_name);
  const uint64_t stored = model.checkpoint().stored_bytes(info);
  const auto elements = static_cast<uint64_t>(checkpoint::element_count(tensor.shape).value());
  const auto whole = static_cast<uint64_t>(info.elements());
  json entry{
      {"name", tensor.name},
      {"dtype", checkpoint::name(tensor.stored_dtype)},
      {"shape", tensor.shape},
      {"bytes", elements == whole ? stored : stored / whole * elements + stored % whole * elements / whole}};
  if (totals.seen.insert(tensor.stored_name).second) totals.stored += stored;
  const auto saved = alone.find(&tensor);
  if (!checkpoint::converts_to_f32(tensor.stored_dtype)) {
    if (saved != alone.end()) totals.archived += stored;
    return entry;
  }
  sparsity::Observer observer;
  int64_t nonzeros = 0;
  for_each_rows(model, tensor, [&](const at::Tensor& values) {
    observer.add(values);
    if (saved != alone.end()) nonzeros += count_nonzeros(values);
  });
  const sparsity::Observed seen = observer.result();
  entry["zeros"] = seen.zeros;
  entry["sparsity"] = seen.sparsity();
  entry["pattern"] = seen.pattern ? json(sparsity::to_string(*seen.pattern)) : json(nullptr);
  entry["archive_bytes"] = nullptr;
  if (saved != alone.end()) {
    const uint64_t archived = bytes_in_archive(*saved->second, nonzeros);
    entry["archive_bytes"] = archived;
    totals.archived += archived;
  }
  totals.zeros += seen.zeros;
  totals.elements += seen.elements;
  if (tensor.role && model::is_prunable(*tensor.role)) count_matrix(totals, seen);
  return entry;
}

/// The tensors that are no weights, and the keys that change nothing. In a GGUF file the keys of other
/// programs belong to these: they begin neither with the architecture's name nor with general, tokenizer,
/// split or quantize.
json ignored(const model::LanguageModel& model) {
  std::set<std::string_view> read;
  for (const ModelTensor& tensor : model.tensors()) {
    if (tensor.role) read.insert(tensor.stored_name);
  }
  const checkpoint::GgufCheckpoint* gguf = model.gguf();
  json tensors = json::array();
  for (const checkpoint::TensorInfo& info : model.checkpoint().tensors()) {
    const bool rotary = gguf != nullptr && info.name.starts_with("rope_");  // read with the configuration
    if (!read.contains(info.name) && !rotary) tensors.push_back(info.name);
  }
  if (gguf == nullptr) {
    const std::string text = read_file(model.path() / "config.json");
    return {{"tensors", std::move(tensors)}, {"keys", model::ignored_keys(text, "config.json")}};
  }
  const model::Architecture& architecture =
      model::architecture_of_model_type(model.config().architecture, "model");
  json keys =
      model::ignored_keys(gguf->metadata(), architecture, model.config(), model.path().filename().string());
  for (const std::string& key : gguf->metadata().keys()) {
    const std::string prefix = key.substr(0, key.find('.') + 1);
    const bool known =
        prefix == "general." || prefix == "tokenizer." || prefix == "split." || prefix == "quantize.";
    if (!known && prefix != std::string(architecture.gguf.name) + ".") keys.push_back(key);
  }
  return {{"tensors", std::move(tensors)}, {"keys", std::move(keys)}};
}

}  // namespace

json inspect(const ModelPlace& place, Sinks sinks) {
  const auto model = open_weights(place, sinks.log);
  const model::Config& c = model->config();
  json tensors = json::array();
  Totals totals;
  int64_t done = 0;
  const std::vector<SavedTensor> saved = model->hugging_face_tensors();
  SavedAlone alone;
  for (const SavedTensor& tensor : saved) {
    if (tensor.is_one_part()) alone.emplace(tensor.parts[0].tensor, &tensor);
  }
  sinks.progress.begin("inspect", static_cast<int64_t>(model->tensors().size()), "tensors");
  for (const ModelTensor& tensor : model->tensors()) {
    throw_if_interrupted();
    tensors.push_back(inspect_tensor(*model, tensor, alone, totals));
    sinks.progress.advance(++done, "");
  }
  sinks.progress.end();
  for (const SavedTensor& tensor : saved) {
    throw_if_interrupted();
    if (!tensor.is_one_part()) totals.archived += bytes_in_archive(model::WeightView(*model), tensor);
  }
  return {{"path", place.path.string()},
          {"format", format_of(*model)},
          {"architecture", c.architecture},
          {"parameters", model->parameters()},
          {"bytes", totals.stored},
          {"archive_bytes", totals.archived},
          {"vocabulary", c.vocabulary},
          {"width", c.width},
          {"intermediate", c.intermediate},
          {"blocks", c.blocks},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"max_length", c.max_length},
          {"tied_embeddings", c.tied_embeddings},
          {"sparsity",
           {{"matrices", share(totals.matrix_zeros, totals.matrix_elements)},
            {"whole_model", share(totals.zeros, totals.elements)},
            {"pattern", totals.pattern ? json(*totals.pattern) : json(nullptr)}}},
          {"ignored", ignored(*model)},
          {"tensors", std::move(tensors)}};
}

}  // namespace freelunch::pipeline
