#include "freelunch/model_io/folder_files.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "freelunch/architecture/hf_config.h"
#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/model_io/gguf_tokenizer.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using nlohmann::json;
using nlohmann::ordered_json;

void write_json(const fs::path& file, const ordered_json& object) {
  checkpoint::write_file_atomically(file, object.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

const char* torch_name(DType dtype) {
  if (dtype == DType::kF32) return "float32";
  return dtype == DType::kF16 ? "float16" : "bfloat16";
}

/// The dtype of the model's matrices, which config.json states.
DType main_dtype(const model::LanguageModel& model, const OutputOptions& options) {
  return options.dtype.value_or(model.embedding().saved_dtype);
}

/// The format of compressed-tensors up to version 0.14.
ordered_json archive_config() {
  return {{"quant_method", "compressed-tensors"},
          {"sparsity_config",
           {{"format", "sparse-bitmask"}, {"global_sparsity", 0.0}, {"sparsity_structure", "unstructured"}}}};
}

}  // namespace

void write_config(const model::LanguageModel& model, const OutputOptions& options, const fs::path& folder) {
  const bool archive = options.format == Format::kBitmask;
  if (model.gguf() != nullptr) {
    ordered_json config = model::config_to_hugging_face(model.config());
    config["torch_dtype"] = torch_name(main_dtype(model, options));
    if (archive) config["quantization_config"] = archive_config();
    return write_json(folder / "config.json", config);
  }
  const fs::path config_path = model.path() / "config.json";
  std::ifstream stream(config_path);
  if (!stream) fail(ErrorKind::kIo, "cannot open '{}': {}", config_path.string(), system_error_text());
  ordered_json config = ordered_json::parse(stream);
  const bool was_archive = config.contains("quantization_config") || config.contains("sparsity_config") ||
                           config.contains("compression_config");
  // The files may hold a head of their own although the configuration denies it.
  const bool tied = model.config().tied_embeddings;
  const bool same_head = model::parse_config(config.dump(), "config.json").tied_embeddings == tied;
  if (!archive && !was_archive && !options.dtype && same_head) {  // byte for byte
    fs::copy_file(config_path, folder / "config.json");
    return;
  }
  for (const char* key : {"quantization_config", "sparsity_config", "compression_config"}) config.erase(key);
  if (options.dtype) config[config.contains("dtype") ? "dtype" : "torch_dtype"] = torch_name(*options.dtype);
  if (!same_head) config["tie_word_embeddings"] = tied;
  if (archive) config["quantization_config"] = archive_config();
  write_json(folder / "config.json", config);
}

void write_tokenizer_files(const model::LanguageModel& model, const fs::path& folder) {
  if (model.gguf() == nullptr) {
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"}) {
      if (fs::exists(model.path() / name)) fs::copy_file(model.path() / name, folder / name);
    }
    return;
  }
  ordered_json generation = ordered_json::object();
  if (model.config().bos) generation["bos_token_id"] = *model.config().bos;
  if (model.config().eos) generation["eos_token_id"] = *model.config().eos;
  write_json(folder / "generation_config.json", generation);
  const checkpoint::GgufMetadata& metadata = model.gguf()->metadata();
  if (!metadata.has("tokenizer.ggml.model")) return;
  const tokenizer::GgufVocabulary vocabulary = gguf_vocabulary(metadata);
  const auto write = [&](const char* name, const json& object) {
    checkpoint::write_file_atomically(folder / name,
                                      object.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  };
  write("tokenizer.json", tokenizer::tokenizer_json_from_gguf(vocabulary));
  json config =
      tokenizer::tokenizer_config_from_gguf(vocabulary, metadata.get_string("tokenizer.chat_template", ""));
  config["model_max_length"] = model.config().max_length;
  write("tokenizer_config.json", config);
}

}  // namespace freelunch::pipeline
