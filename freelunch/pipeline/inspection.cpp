#include "pipeline/inspection.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "model/language_model.h"
#include "sparsity/mask.h"

namespace freelunch::pipeline {

nlohmann::json inspect(const std::filesystem::path& path, Sinks sinks) {
  using nlohmann::json;
  const auto model = model::LanguageModel::open(path);
  const model::Config& c = model->config();
  json tensors = json::array();
  int64_t zeros = 0, elements = 0, matrix_zeros = 0, matrix_elements = 0, done = 0;
  uint64_t bytes = 0;
  for (const checkpoint::TensorInfo& info : model->checkpoint().tensors()) bytes += info.bytes;
  sinks.progress.begin("inspect", static_cast<int64_t>(model->tensors().size()), "tensors");
  for (const model::ModelTensor& tensor : model->tensors()) {
    throw_if_interrupted();
    json entry{
        {"name", tensor.name}, {"dtype", checkpoint::name(tensor.stored_dtype)}, {"shape", tensor.shape}};
    if (checkpoint::converts_to_f32(tensor.stored_dtype)) {
      const sparsity::Observed seen = sparsity::observe(model->read(tensor));
      entry["zeros"] = seen.zeros;
      entry["sparsity"] = seen.sparsity();
      entry["pattern"] = seen.pattern ? json(sparsity::to_string(*seen.pattern)) : json(nullptr);
      zeros += seen.zeros;
      elements += seen.elements;
      if (tensor.part && model::is_matrix(*tensor.part)) {
        matrix_zeros += seen.zeros;
        matrix_elements += seen.elements;
      }
    }
    tensors.push_back(std::move(entry));
    sinks.progress.advance(++done, "");
  }
  sinks.progress.end();
  const auto share = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  return {{"path", path.string()},
          {"format", model->gguf() != nullptr ? "gguf" : "hugging-face"},
          {"architecture", c.architecture},
          {"parameters", model->parameters()},
          {"bytes", bytes},
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
           {{"matrices", share(matrix_zeros, matrix_elements)}, {"whole_model", share(zeros, elements)}}},
          {"tensors", std::move(tensors)}};
}

}  // namespace freelunch::pipeline
