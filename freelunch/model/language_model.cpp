#include "model/language_model.h"

#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "checkpoint/bitmask_checkpoint.h"
#include "model/architecture.h"
#include "model/gguf_config.h"
#include "model/hf_config.h"

namespace freelunch::model {
namespace {

using checkpoint::DType;
using checkpoint::TensorInfo;
namespace fs = std::filesystem;

Config read_config(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail(ErrorKind::kBadFile, "cannot open '{}': {}", path.string(), system_error_text());
  std::ostringstream text;
  text << stream.rdbuf();
  return parse_config(text.str(), path.filename().string());
}

/// What a part's tensor must look like.
std::vector<int64_t> expected_shape(const Config& c, Part part) {
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  switch (part) {
    case Part::kAttentionNorm:
    case Part::kMlpNorm:
    case Part::kOutputBias:
    case Part::kDownBias:
      return {c.width};
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
    case Part::kGate:
    case Part::kUp:
      return {c.intermediate, c.width};
    case Part::kGateBias:
    case Part::kUpBias:
      return {c.intermediate};
    case Part::kDown:
      return {c.width, c.intermediate};
  }
  return {};
}

bool is_needed(const Config& c, Part part) {
  switch (part) {
    case Part::kQueryBias:
    case Part::kKeyBias:
    case Part::kValueBias:
      return c.qkv_bias;
    case Part::kOutputBias:
      return c.output_bias;
    case Part::kGateBias:
    case Part::kUpBias:
    case Part::kDownBias:
      return c.mlp_bias;
    default:
      return true;
  }
}

using checkpoint::shape_text;

/// "model.layers.12.mlp.up_proj.weight" -> (12, kUp)
std::optional<std::pair<int64_t, Part>> place_of(const std::string& name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const size_t dot = name.find('.', kPrefix.size());
  if (dot == std::string::npos) return std::nullopt;
  int64_t block = 0;
  for (size_t i = kPrefix.size(); i < dot; ++i) {
    if (name[i] < '0' || name[i] > '9' || block > 1000000) return std::nullopt;
    block = block * 10 + (name[i] - '0');
  }
  const std::string_view rest = std::string_view(name).substr(dot + 1);
  for (const PartNames& part : all_parts()) {
    if (part.hugging_face == rest) return std::pair(block, part.part);
  }
  return std::nullopt;
}

/// The GGUF of a folder that holds model.gguf, or its splits, instead of config.json.
std::optional<fs::path> gguf_inside(const fs::path& folder) {
  if (fs::exists(folder / "config.json")) return std::nullopt;
  if (fs::exists(folder / "model.gguf")) return folder / "model.gguf";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model-00001-of-") && name.ends_with(".gguf")) return entry.path();
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<LanguageModel> LanguageModel::open(const fs::path& path) {
  std::unique_ptr<LanguageModel> model(new LanguageModel);
  if (!fs::exists(path)) fail(ErrorKind::kBadFile, "model '{}' does not exist", path.string());
  model->path_ = fs::is_directory(path) ? gguf_inside(path).value_or(path) : path;
  if (fs::is_directory(model->path_)) {
    model->open_folder();
  } else if (model->path_.extension() == ".gguf") {
    model->open_gguf();
  } else {
    fail(ErrorKind::kUnsupported, "model '{}' is neither a Hugging Face folder nor a .gguf file",
         path.string());
  }
  model->check_complete();
  if (model->gguf_ != nullptr) model->restore_dtypes();
  return model;
}

void LanguageModel::open_folder() {
  config_ = read_config(path_ / "config.json");
  checkpoint_ = checkpoint::open_safetensors(path_);
  for (const TensorInfo& info : checkpoint_->tensors()) {
    ModelTensor tensor{.name = info.name,
                       .stored_name = info.name,
                       .shape = info.shape,
                       .stored_dtype = info.dtype,
                       .saved_dtype = info.dtype};
    if (const auto place = place_of(info.name))
      std::tie(tensor.block, tensor.part) = std::tuple(place->first, place->second);
    add(std::move(tensor));
  }
  // Files of tied models may still hold a copy of the head; files without one are tied whatever they say.
  if (!by_name_.contains("lm_head.weight")) config_.tied_embeddings = true;
}

void LanguageModel::open_gguf() {
  auto file = checkpoint::GgufCheckpoint::open(path_);
  gguf_ = file.get();
  checkpoint_ = std::move(file);
  config_ = config_from_gguf(*gguf_, path_.filename().string());
  const bool permuted = architecture_of_model_type(config_.architecture, "model").gguf_permutes_rotary;
  const auto add_stored = [&](const std::string& name, const std::string& stored, int64_t block,
                              std::optional<Part> part) {
    const TensorInfo* info = checkpoint_->find(stored);
    if (info == nullptr) return false;
    const bool plain =
        info->dtype == DType::kF32 || info->dtype == DType::kF16 || info->dtype == DType::kBF16;
    const DType saved = plain ? info->dtype : DType::kBF16;
    ModelTensor tensor{.name = name,
                       .stored_name = stored,
                       .shape = info->shape,
                       .stored_dtype = info->dtype,
                       .saved_dtype = saved,
                       .block = block,
                       .part = part};
    if (permuted && part && (*part == Part::kQuery || *part == Part::kQueryBias))
      tensor.rotary_heads = config_.heads;
    if (permuted && part && (*part == Part::kKey || *part == Part::kKeyBias))
      tensor.rotary_heads = config_.kv_heads;
    add(std::move(tensor));
    return true;
  };
  add_stored("model.embed_tokens.weight", "token_embd.weight", -1, std::nullopt);
  // Metadata may announce any number of blocks; one without a tensor is where check_complete() will stop.
  bool found = true;
  for (int64_t block = 0; found && block < config_.blocks; ++block) {
    found = false;
    for (const PartNames& part : all_parts()) {
      found |= add_stored(fmt::format("model.layers.{}.{}", block, part.hugging_face),
                          fmt::format("blk.{}.{}", block, part.gguf), block, part.part);
    }
  }
  add_stored("model.norm.weight", "output_norm.weight", -1, std::nullopt);
  add_stored("lm_head.weight", "output.weight", -1, std::nullopt);
}

void LanguageModel::restore_dtypes() {
  const DType model_dtype = embedding().saved_dtype;
  for (ModelTensor& tensor : tensors_) {
    if (tensor.shape.size() < 2 && tensor.saved_dtype == DType::kF32 && fits(tensor, model_dtype))
      tensor.saved_dtype = model_dtype;
  }
}

bool LanguageModel::fits(const ModelTensor& tensor, DType dtype) const {
  if (dtype == DType::kF32) return false;
  const at::Tensor values = read(tensor);
  return at::equal(values, values.to(dtype == DType::kF16 ? at::kHalf : at::kBFloat16).to(at::kFloat));
}

void LanguageModel::add(ModelTensor tensor) {
  by_name_[tensor.name] = tensors_.size();
  if (tensor.part) by_part_[{tensor.block, *tensor.part}] = tensors_.size();
  tensors_.push_back(std::move(tensor));
}

void LanguageModel::check_complete() const {
  const std::string where = path_.filename().string();
  const auto check = [&](const ModelTensor* tensor, const std::string& name,
                         const std::vector<int64_t>& shape) {
    if (tensor == nullptr) {
      fail(ErrorKind::kBadFile, "{}: needs tensor '{}' {} for {}, but no file holds it; incomplete download?",
           where, name, shape_text(shape), config_.architecture);
    }
    if (tensor->shape != shape) {
      fail(ErrorKind::kBadFile, "{}: tensor '{}' is {}, but the configuration asks for {}", where, name,
           shape_text(tensor->shape), shape_text(shape));
    }
  };
  const auto by_name = [&](const char* name) {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
  };
  check(by_name("model.embed_tokens.weight"), "model.embed_tokens.weight",
        {config_.vocabulary, config_.width});
  check(by_name("model.norm.weight"), "model.norm.weight", {config_.width});
  if (!config_.tied_embeddings) {
    check(by_name("lm_head.weight"), "lm_head.weight", {config_.vocabulary, config_.width});
  }
  for (int64_t block = 0; block < config_.blocks; ++block) {
    for (const PartNames& part : all_parts()) {
      const ModelTensor* tensor = find(block, part.part);
      if (tensor == nullptr && !is_needed(config_, part.part)) continue;
      check(tensor, fmt::format("model.layers.{}.{}", block, part.hugging_face),
            expected_shape(config_, part.part));
    }
  }
}

const ModelTensor* LanguageModel::find(int64_t block, Part part) const {
  const auto it = by_part_.find({block, part});
  return it == by_part_.end() ? nullptr : &tensors_[it->second];
}

const ModelTensor& LanguageModel::at(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) fail(ErrorKind::kBadFile, "{}: no tensor '{}'", path_.filename().string(), name);
  return tensors_[it->second];
}

const ModelTensor& LanguageModel::head() const {
  return config_.tied_embeddings ? embedding() : at("lm_head.weight");
}

int64_t LanguageModel::parameters() const {
  int64_t total = 0;
  for (const ModelTensor& tensor : tensors_) total += c10::multiply_integers(tensor.shape);
  return total;
}

void LanguageModel::require_finite(const at::Tensor& data, const ModelTensor& tensor) const {
  // One number says whether all are finite: the largest magnitude is NaN or infinite if any is.
  if (data.numel() > 0 && !std::isfinite(data.abs().max().item<float>())) {
    fail(ErrorKind::kBadFile, "{}: tensor '{}' holds NaN or infinite values", path_.filename().string(),
         tensor.stored_name);
  }
}

at::Tensor LanguageModel::read(const ModelTensor& tensor) const {
  at::Tensor data = at::empty(tensor.shape, at::kFloat);
  const TensorInfo& info = checkpoint_->at(tensor.stored_name);
  checkpoint_->read_f32(info, {data.mutable_data_ptr<float>(), static_cast<size_t>(data.numel())});
  checkpoint_->release(info);
  require_finite(data, tensor);
  if (tensor.rotary_heads == 0) return data;
  // GGUF stores pair (i, i + head_dim / 2) of a head in rows 2i and 2i + 1.
  std::vector<int64_t> pairs{tensor.rotary_heads, tensor.shape[0] / tensor.rotary_heads / 2, 2};
  pairs.insert(pairs.end(), tensor.shape.begin() + 1, tensor.shape.end());
  return data.view(pairs).transpose(1, 2).reshape(tensor.shape);
}

at::Tensor LanguageModel::read_rows(const ModelTensor& tensor, const std::vector<int64_t>& rows) const {
  const int64_t columns = tensor.shape.at(1);
  at::Tensor data = at::empty({static_cast<int64_t>(rows.size()), columns}, at::kFloat);
  const TensorInfo& info = checkpoint_->at(tensor.stored_name);
  float* out = data.mutable_data_ptr<float>();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= tensor.shape[0]) {
      fail(ErrorKind::kBadFile,
           "token {} is outside the {} rows of '{}'; does the tokenizer belong to this model?", rows[i],
           tensor.shape[0], tensor.name);
    }
    checkpoint_->read_f32_rows(info, rows[i], 1,
                               {out + static_cast<int64_t>(i) * columns, static_cast<size_t>(columns)});
  }
  require_finite(data, tensor);
  return data;
}

at::Tensor LanguageModel::read_rows(const ModelTensor& tensor, int64_t first, int64_t rows) const {
  at::Tensor data = at::empty({rows, tensor.shape.at(1)}, at::kFloat);
  checkpoint_->read_f32_rows(checkpoint_->at(tensor.stored_name), first, rows,
                             {data.mutable_data_ptr<float>(), static_cast<size_t>(data.numel())});
  require_finite(data, tensor);
  return data;
}

}  // namespace freelunch::model
