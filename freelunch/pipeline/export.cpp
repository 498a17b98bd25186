#include "pipeline/export.h"

#include <ATen/ATen.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/interrupt.h"
#include "checkpoint/atomic_file.h"
#include "checkpoint/safetensors_writer.h"
#include "model/hf_config.h"
#include "pipeline/gguf_tokenizer.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using model::SavedTensor;

at::ScalarType scalar_type(const SavedTensor& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    default:
      fail(ErrorKind::kUnsupported, "tensor '{}' has dtype {}, which cannot be changed", tensor.name,
           checkpoint::name(tensor.dtype));
  }
}

void write_tensor(const model::Weights& weights, const SavedTensor& tensor,
                  checkpoint::SafetensorsWriter& writer) {
  const checkpoint::Checkpoint& source = weights.dense().checkpoint();
  if (tensor.source != nullptr && !weights.changed(tensor)) {
    writer.write(tensor.name, source.bytes(*tensor.source));
    source.release(*tensor.source);
    return;
  }
  const at::Tensor data = weights.assembled(tensor).to(scalar_type(tensor)).contiguous();
  writer.write(tensor.name, {static_cast<const std::byte*>(data.const_data_ptr()), data.nbytes()});
}

void write_tokenizer_files(const OpenedModel& opened, const fs::path& folder) {
  const model::LanguageModel& model = *opened.model;
  if (model.gguf() == nullptr) {
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"}) {
      if (fs::exists(model.path() / name)) fs::copy_file(model.path() / name, folder / name);
    }
    return;
  }
  const checkpoint::GgufMetadata& metadata = model.gguf()->metadata();
  const tokenizer::GgufVocabulary vocabulary = gguf_vocabulary(metadata);
  const auto write = [&](const char* name, const nlohmann::json& json) {
    checkpoint::write_file_atomically(
        folder / name, json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  };
  write("tokenizer.json", tokenizer::tokenizer_json_from_gguf(vocabulary));
  nlohmann::json config =
      tokenizer::tokenizer_config_from_gguf(vocabulary, metadata.get_string("tokenizer.chat_template", ""));
  config["model_max_length"] = model.config().max_length;
  write("tokenizer_config.json", config);
  nlohmann::json generation = nlohmann::json::object();
  if (model.config().bos) generation["bos_token_id"] = *model.config().bos;
  if (model.config().eos) generation["eos_token_id"] = *model.config().eos;
  write("generation_config.json", generation);
}

void write_config(const model::LanguageModel& model, const fs::path& folder) {
  if (model.gguf() == nullptr) {
    fs::copy_file(model.path() / "config.json", folder / "config.json");
    if (fs::exists(model.path() / "model.safetensors.index.json")) {
      fs::copy_file(model.path() / "model.safetensors.index.json", folder / "model.safetensors.index.json");
    }
    return;
  }
  checkpoint::write_file_atomically(folder / "config.json",
                                    model::config_to_hugging_face(model.config()).dump(2) + "\n");
}

}  // namespace

void export_hugging_face(const OpenedModel& opened, const model::Weights& weights, const fs::path& folder,
                         ProgressSink& progress) {
  const model::LanguageModel& model = *opened.model;
  std::map<std::string, std::vector<SavedTensor>> files;
  int64_t count = 0;
  for (SavedTensor& tensor : model.hugging_face_tensors()) {
    files[tensor.file].push_back(std::move(tensor));
    ++count;
  }
  progress.begin("save", count, "tensors");
  int64_t done = 0;
  try {
    write_config(model, folder);
    write_tokenizer_files(opened, folder);
    for (const auto& [file, tensors] : files) {
      std::vector<checkpoint::TensorPlan> plan;
      for (const SavedTensor& tensor : tensors) plan.push_back({tensor.name, tensor.dtype, tensor.shape});
      checkpoint::SafetensorsWriter writer(folder / file, std::move(plan), {{"format", "pt"}});
      for (const SavedTensor& tensor : tensors) {
        throw_if_interrupted();
        write_tensor(weights, tensor, writer);
        progress.advance(++done, "");
      }
      writer.finish();
    }
  } catch (const fs::filesystem_error& error) {
    fail(ErrorKind::kIo, "cannot write '{}': {}", folder.string(), error.code().message());
  }
  progress.end();
}

}  // namespace freelunch::pipeline
