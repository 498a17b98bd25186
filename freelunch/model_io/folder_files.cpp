#include "freelunch/model_io/folder_files.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "freelunch/architecture/hf_config.h"
#include "freelunch/base/error.h"
#include "freelunch/base/read_file.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/model_io/gguf_tokenizer.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using nlohmann::json;
using nlohmann::ordered_json;

template <class Json>
void write_json(const fs::path& file, const Json& object) {
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

/// Weights and training state in any format, by the end of the name.
bool is_weights(const fs::path& file) {
  static const std::set<std::string> kEnds{".safetensors", ".gguf",    ".bin",  ".pt",        ".pth", ".ckpt",
                                           ".h5",          ".msgpack", ".onnx", ".onnx_data", ".ot",  ".npz",
                                           ".npy",         ".zip",     ".tar",  ".gz",        ".xz",  ".zst",
                                           ".parquet",     ".tflite",  ".pb",   ".nemo",      ".mar", ".ggml",
                                           ".engine",      ".plan",    ".pkl",  ".mlmodel"};
  const std::string name = file.filename().string();
  return kEnds.contains(file.extension().string()) || name.ends_with(".index.json") ||
         name.find(".partial-") != std::string::npos;
}

/// What the output has of its own, and hidden files. With adapter_config.json, transformers would load the
/// adapter's base model instead of the weights next to it.
bool is_written_here(const std::string& name) {
  return name.starts_with(".") || name == "config.json" || name == "freelunch.json" ||
         name == "report.html" || name == "adapter_config.json";
}

/// A folder inside the model's folder that is a model itself or the state of a training.
bool is_model_inside(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path name = entry.path().filename();
    if (name == "config.json" || is_weights(name)) return true;
  }
  return false;
}

void copy_folder(const fs::path& from, const fs::path& to, int depth) {
  constexpr int kDeepest = 4;
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".")) continue;
    if (fs::is_regular_file(entry)) {
      if (is_weights(name) || (depth == 0 && is_written_here(name))) continue;
      fs::create_directories(to);
      fs::copy_file(entry.path(), to / name);
    } else if (fs::is_directory(entry) && !fs::is_symlink(entry.symlink_status()) && depth < kDeepest &&
               !name.ends_with(".partial") && !is_model_inside(entry.path())) {
      copy_folder(entry.path(), to / name, depth + 1);
    }
  }
}

/// Copies what is not weights and not written here: what a tokenizer, a chat template or remote code needs
/// has no fixed list of names.
void copy_other_files(const fs::path& from, const fs::path& to) {
  const fs::path relative = fs::weakly_canonical(to).lexically_relative(fs::weakly_canonical(from));
  if (!relative.empty() && *relative.begin() != "..") {  // an output inside its input: files only
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (fs::is_regular_file(entry) && !is_weights(name) && !is_written_here(name))
        fs::copy_file(entry.path(), to / name);
    }
    return;
  }
  copy_folder(from, to, 0);
}

/// The chat templates in GGUF metadata as tokenizer_config.json holds them; null if there are none.
json chat_template_json(const checkpoint::GgufMetadata& metadata) {
  constexpr std::string_view kNamed = "tokenizer.chat_template.";
  json list = json::array();
  if (metadata.has("tokenizer.chat_template"))
    list.push_back({{"name", "default"}, {"template", metadata.get_string("tokenizer.chat_template")}});
  for (const std::string& key : metadata.keys()) {
    if (key.starts_with(kNamed))
      list.push_back({{"name", key.substr(kNamed.size())}, {"template", metadata.get_string(key)}});
  }
  if (list.empty()) return nullptr;
  return list.size() == 1 && list[0]["name"] == "default" ? list[0]["template"] : list;
}

/// What config.json says of single blocks, for those that stay.
void keep_blocks(ordered_json& config, const model::Config& before, const model::Config& smaller,
                 const std::vector<int64_t>& blocks) {
  const auto types = config.find("layer_types");
  if (types != config.end() && types->is_array() && std::cmp_equal(types->size(), before.blocks)) {
    ordered_json kept = ordered_json::array();
    for (const int64_t b : blocks) kept.push_back((*types)[static_cast<size_t>(b)]);
    *types = kept;
  }
  if (!config.contains("mlp_only_layers")) return;
  ordered_json plain =
      ordered_json::array();  // blocks without a mixture; a step would count from the first block
  for (int64_t b = 0; b < smaller.blocks; ++b) {
    if (!smaller.has_experts(b)) plain.push_back(b);
  }
  config["mlp_only_layers"] = plain;
  if (config.contains("decoder_sparse_step")) config["decoder_sparse_step"] = 1;
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
  const std::string text = read_file(model.path() / "config.json");
  ordered_json config = ordered_json::parse(text);
  // the files may have decided what the head is
  const bool tied = model.config().tied_embeddings;
  const bool retied = model::parse_config(text, "config.json").tied_embeddings != tied;
  const bool was_archive = config.contains("quantization_config") || config.contains("sparsity_config") ||
                           config.contains("compression_config");
  if (!archive && !was_archive && !options.dtype && !retied) {  // byte for byte
    fs::copy_file(model.path() / "config.json", folder / "config.json");
    return;
  }
  for (const char* key : {"quantization_config", "sparsity_config", "compression_config"}) config.erase(key);
  if (retied) config["tie_word_embeddings"] = tied;
  if (options.dtype) config[config.contains("dtype") ? "dtype" : "torch_dtype"] = torch_name(*options.dtype);
  if (archive) config["quantization_config"] = archive_config();
  write_json(folder / "config.json", config);
}

void write_smaller_config(const model::LanguageModel& model, const model::Config& smaller,
                          const std::vector<int64_t>& blocks, const fs::path& folder) {
  if (model.gguf() != nullptr) {
    ordered_json config = model::config_to_hugging_face(smaller);
    config["torch_dtype"] = torch_name(model.embedding().saved_dtype);
    return write_json(folder / "config.json", config);
  }
  const json before = model::config_keys(model.config());
  const json after = model::config_keys(smaller);
  ordered_json config = ordered_json::parse(read_file(model.path() / "config.json"));
  for (const char* key : {"quantization_config", "sparsity_config", "compression_config"}) config.erase(key);
  for (const auto& [key, value] : after.items()) {
    if (!before.contains(key) || before[key] != value) config[key] = value;
  }
  // without the key, readers would divide the width by the new number of heads
  const bool other_heads = model.config().heads != smaller.heads;
  if (other_heads && after.contains("head_dim")) config["head_dim"] = after["head_dim"];
  // transformers has two names for the number of experts
  for (const char* name : {"num_experts", "num_local_experts"}) {
    if (config.contains(name)) config[name] = smaller.experts.count;
  }
  config["tie_word_embeddings"] = smaller.tied_embeddings;
  if (model.config().blocks != smaller.blocks) keep_blocks(config, model.config(), smaller, blocks);
  if (model::parse_config(config.dump(), "config.json") != smaller)
    fail(ErrorKind::kUnsupported,
         "config.json: cannot declare the smaller shape of this {} so that it is read as it was made",
         smaller.architecture);
  write_json(folder / "config.json", config);
}

void write_other_files(const model::LanguageModel& model, const fs::path& folder) {
  if (model.gguf() == nullptr) return copy_other_files(model.path(), folder);
  ordered_json generation = ordered_json::object();
  if (model.config().bos) generation["bos_token_id"] = *model.config().bos;
  const std::vector<int64_t>& ends = model.end_tokens();
  if (ends.size() == 1) generation["eos_token_id"] = ends[0];
  if (ends.size() > 1) generation["eos_token_id"] = ends;
  write_json(folder / "generation_config.json", generation);
  const checkpoint::GgufMetadata& metadata = model.gguf()->metadata();
  if (!metadata.has("tokenizer.ggml.model")) return;
  const tokenizer::GgufVocabulary vocabulary = gguf_vocabulary(metadata);
  write_json(folder / "tokenizer.json", tokenizer::tokenizer_json_from_gguf(vocabulary));
  json config = tokenizer::tokenizer_config_from_gguf(vocabulary);
  config["model_max_length"] = model.config().max_length;
  if (const json templates = chat_template_json(metadata); !templates.is_null())
    config["chat_template"] = templates;
  write_json(folder / "tokenizer_config.json", config);
}

}  // namespace freelunch::pipeline
