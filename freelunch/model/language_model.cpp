#include "freelunch/model/language_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/gguf_config.h"
#include "freelunch/architecture/hf_config.h"
#include "freelunch/architecture/special_tokens.h"
#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/base/read_file.h"
#include "freelunch/checkpoint/bitmask/bitmask_checkpoint.h"
#include "freelunch/model/gguf_file.h"
#include "freelunch/model/stored_head.h"

namespace freelunch::model {
namespace {

using checkpoint::DType;
using checkpoint::TensorInfo;
namespace fs = std::filesystem;

using checkpoint::shape_text;

/// The names in files of the model's body alone, which lack the prefix that the whole model's names have.
NameTable without_base_prefix(NameTable names) {
  const std::string_view prefix = names.base_prefix;
  const auto strip = [&](std::string_view& name) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  };
  strip(names.block_prefix);
  for (RoleName& name : names.roles) {
    if (!is_in_block(name.role)) strip(name.name);
  }
  return names;
}

/// The dtype in a Hugging Face folder: quantised weights become BF16.
DType saved_dtype_of(DType stored) {
  const bool quantised = checkpoint::is_quantised(stored);
  return quantised ? DType::kBF16 : stored;
}

/// The dtype of a tensor assembled from parts: that of the parts if it is the same, otherwise F32, which
/// holds all of them.
DType saved_dtype_of(const std::vector<SavedPart>& parts) {
  const DType first = parts[0].tensor->saved_dtype;
  const bool same = std::all_of(parts.begin(), parts.end(),
                                [&](const SavedPart& part) { return part.tensor->saved_dtype == first; });
  return same ? first : DType::kF32;
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
  if (model->gguf_ != nullptr) model->restore_dtypes();
  const std::vector<std::string> notes = model->checkpoint_->notes();
  model->warnings_.insert(model->warnings_.end(), notes.begin(), notes.end());
  return model;
}

std::unique_ptr<LanguageModel> LanguageModel::open(const fs::path& path,
                                                   std::shared_ptr<const checkpoint::Checkpoint> tensors) {
  std::unique_ptr<LanguageModel> model(new LanguageModel);
  model->path_ = path;
  model->checkpoint_ = std::move(tensors);
  model->open_folder();
  return model;
}

void LanguageModel::open_folder() {
  const std::string text = read_file(path_ / "config.json", ErrorKind::kBadFile);
  config_ = parse_config(text, "config.json");
  std::vector<int64_t> ends;
  if (const fs::path file = path_ / "generation_config.json"; fs::exists(file))
    ends = end_tokens_of(read_file(file, ErrorKind::kBadFile), "generation_config.json");
  set_end_tokens(ends.empty() ? end_tokens_of(text, "config.json") : ends);
  if (checkpoint_ == nullptr) checkpoint_ = checkpoint::open_safetensors(path_);
  NameTable names = architecture_of_model_type(config_.architecture, "model").hugging_face;
  const NameTable body = without_base_prefix(names);
  if (checkpoint_->find(role_name(names, WeightRole::kEmbedding, -1)) == nullptr &&
      checkpoint_->find(role_name(body, WeightRole::kEmbedding, -1)) != nullptr) {
    names = body;
  }
  const StoredHead head = find_head(*checkpoint_, config_, names, path_.filename().string());
  config_.tied_embeddings = head.tied;
  if (!head.warning.empty()) warnings_.push_back(head.warning);
  check_blocks(names);
  folder_ = layout(config_, names);
  const std::vector<StoredTensor> stored = layout(config_, head.names);
  check_complete(stored);
  for (size_t i = 0; i < stored.size(); ++i) folder_by_stored_name_.emplace(stored[i].name, i);
  for (const TensorInfo& info : checkpoint_->tensors()) {
    if (const auto it = folder_by_stored_name_.find(info.name); it != folder_by_stored_name_.end()) {
      add_parts(stored[it->second], names);
    } else {
      add({.name = info.name,
           .stored_name = info.name,
           .shape = info.shape,
           .stored_dtype = info.dtype,
           .saved_dtype = info.dtype,
           .slice = {},
           .role = {}});
    }
  }
  warn_of_unknown();
}

void LanguageModel::set_end_tokens(const std::vector<int64_t>& ids) {
  for (const int64_t id : ids) {
    if (id >= 0 && id < config_.vocabulary) end_tokens_.push_back(id);
  }
}

/// transformers does not use these tensors either, but a user should know of them.
void LanguageModel::warn_of_unknown() {
  const Architecture& architecture = architecture_of_model_type(config_.architecture, "model");
  std::vector<std::string> unknown;
  for (const ModelTensor& tensor : tensors_) {
    const bool second_head = tensor.name == architecture.hugging_face.find(WeightRole::kHead)->name;
    if (!tensor.role && !is_derived_buffer(tensor.name) && !second_head) unknown.push_back(tensor.name);
  }
  if (unknown.empty()) return;
  warnings_.push_back(fmt::format("{} has no tensors {}: copied, otherwise ignored", config_.architecture,
                                  first_of(unknown)));
}

void LanguageModel::open_gguf() {
  auto file = checkpoint::GgufCheckpoint::open(path_);
  gguf_ = file.get();
  checkpoint_ = std::move(file);
  config_ = config_from_gguf(*gguf_, path_.filename().string());
  end_tokens_ = end_tokens_of(gguf_->metadata(), config_.vocabulary);
  warnings_ = unusable_special_tokens(gguf_->metadata(), config_.vocabulary);
  const Architecture& architecture = architecture_of_model_type(config_.architecture, "model");
  check_blocks(architecture.gguf.names);
  const std::vector<StoredTensor> stored = layout(config_, architecture.gguf.names);
  check_complete(stored);
  refuse_unknown_tensors(*gguf_, stored, config_, path_.filename().string());
  for (const StoredTensor& tensor : stored) add_parts(tensor, architecture.hugging_face);
  folder_ = layout(config_, architecture.hugging_face);
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
  if (tensor.role) by_role_[{tensor.block, *tensor.role}] = tensors_.size();
  tensors_.push_back(std::move(tensor));
}

void LanguageModel::add_parts(const StoredTensor& stored, const NameTable& named) {
  const TensorInfo& info = checkpoint_->at(stored.name);
  for (const StoredPart& part : stored.parts) {
    add({.name = role_name(named, part.role, part.block),
         .stored_name = stored.name,
         .shape = part.shape,
         .stored_dtype = info.dtype,
         .saved_dtype = saved_dtype_of(info.dtype),
         .slice = part.slice,
         .block = part.block,
         .role = part.role});
  }
}

/// A configuration may announce any number of blocks. Each must have a tensor before the table of all their
/// tensors is made.
void LanguageModel::check_blocks(const NameTable& names) const {
  for (int64_t b = 0; b < config_.blocks; ++b) {
    const std::string name = stored_name(names, WeightRole::kQuery, b);
    if (checkpoint_->find(name) != nullptr) continue;
    fail(ErrorKind::kBadFile, "{}: needs tensor '{}' for {}, but no file holds it; incomplete download?",
         path_.filename().string(), name, config_.architecture);
  }
}

void LanguageModel::check_complete(const std::vector<StoredTensor>& needed) const {
  const std::string where = path_.filename().string();
  for (const StoredTensor& stored : needed) {
    const TensorInfo* info = checkpoint_->find(stored.name);
    if (info == nullptr) {
      fail(ErrorKind::kBadFile, "{}: needs tensor '{}' {} for {}, but no file holds it; incomplete download?",
           where, stored.name, shape_text(stored.shape), config_.architecture);
    }
    if (info->shape != stored.shape) {
      fail(ErrorKind::kBadFile, "{}: tensor '{}' is {}, but the configuration asks for {}", where,
           stored.name, shape_text(info->shape), shape_text(stored.shape));
    }
    if (!checkpoint::converts_to_f32(info->dtype)) {
      fail(ErrorKind::kUnsupported, "{}: tensor '{}' has dtype {}, which weights cannot have here", where,
           stored.name, checkpoint::name(info->dtype));
    }
  }
}

std::vector<const ModelTensor*> LanguageModel::block_tensors(int64_t block) const {
  std::vector<const ModelTensor*> found;
  for (const WeightRole role : block_roles(config_, block)) found.push_back(find(block, role));
  return found;
}

SavedTensor LanguageModel::saved_from(const StoredTensor& stored) const {
  SavedTensor saved{.name = stored.name,
                    .file = "",
                    .shape = stored.shape,
                    .dtype = DType::kF32,
                    .parts = {},
                    .source = nullptr};
  for (const StoredPart& part : stored.parts)
    saved.parts.push_back({.tensor = find(part.block, part.role), .slice = part.slice});
  saved.dtype = saved_dtype_of(saved.parts);
  const ModelTensor& first = *saved.parts[0].tensor;
  const TensorInfo& info = checkpoint_->at(first.stored_name);
  if (saved.is_one_part() && first.slice.is_whole(info.shape, first.shape)) saved.source = &info;
  return saved;
}

std::vector<SavedTensor> LanguageModel::hugging_face_tensors() const {
  std::vector<SavedTensor> result;
  if (gguf_ != nullptr) {
    for (const StoredTensor& stored : folder_) result.push_back(saved_from(stored));
    return result;
  }
  for (const TensorInfo& info : checkpoint_->tensors()) {
    if (const auto it = folder_by_stored_name_.find(info.name); it != folder_by_stored_name_.end()) {
      result.push_back(saved_from(folder_[it->second]));
    } else {
      const TensorSlice whole{.group_rows = info.shape.empty() ? 1 : info.shape[0]};
      result.push_back({.name = info.name,
                        .file = "",
                        .shape = info.shape,
                        .dtype = info.dtype,
                        .parts = {{.tensor = &at(info.name), .slice = whole}},
                        .source = nullptr});
    }
    result.back().file = info.file;
    result.back().source = &info;
  }
  return result;
}

std::vector<SavedTensor> LanguageModel::gguf_tensors() const {
  const Architecture& architecture = architecture_of_model_type(config_.architecture, "model");
  if (architecture.gguf.name.empty())
    fail(ErrorKind::kUnsupported, "architecture '{}' cannot be written as GGUF", config_.architecture);
  const std::vector<StoredTensor> stored = layout(config_, architecture.gguf.names);
  std::vector<SavedTensor> result;
  if (gguf_ == nullptr) {
    for (const StoredTensor& tensor : stored) result.push_back(saved_from(tensor));
    return result;
  }
  std::map<std::string_view, const StoredTensor*> known;
  for (const StoredTensor& tensor : stored) known.emplace(tensor.name, &tensor);
  for (const TensorInfo& info : checkpoint_->tensors()) {
    if (const auto it = known.find(info.name); it != known.end())
      result.push_back(saved_from(*it->second));
    else
      result.push_back({.name = info.name,
                        .file = "",
                        .shape = info.shape,
                        .dtype = info.dtype,
                        .parts = {},
                        .source = nullptr});
    result.back().file = info.file;
    result.back().source = &info;
  }
  return result;
}

const ModelTensor* LanguageModel::find(int64_t block, WeightRole role) const {
  const auto it = by_role_.find({block, role});
  return it == by_role_.end() ? nullptr : &tensors_[it->second];
}

const ModelTensor& LanguageModel::at(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) fail(ErrorKind::kBadFile, "{}: no tensor '{}'", path_.filename().string(), name);
  return tensors_[it->second];
}

const ModelTensor& LanguageModel::head() const {
  return config_.tied_embeddings ? embedding() : *find(-1, WeightRole::kHead);
}

int64_t LanguageModel::parameters() const {
  int64_t total = 0;
  for (const ModelTensor& tensor : tensors_) total += c10::multiply_integers(tensor.shape);
  return total;
}

void LanguageModel::require_finite(const at::Tensor& data, const ModelTensor& tensor) const {
  // The largest magnitude is NaN or infinite if any value is.
  if (data.numel() > 0 && !std::isfinite(data.abs().max().item<float>())) {
    fail(ErrorKind::kBadFile, "{}: tensor '{}' holds NaN or infinite values", path_.filename().string(),
         tensor.stored_name);
  }
}

at::Tensor LanguageModel::read(const ModelTensor& tensor) const {
  const TensorInfo& info = checkpoint_->at(tensor.stored_name);
  const TensorSlice& slice = tensor.slice;
  // Consecutive rows are read alone, other slices are cut from the whole tensor.
  const bool rows_alone = tensor.role && slice.groups == 1 && !slice.transposed && !info.shape.empty();
  at::Tensor data = at::empty(rows_alone ? tensor.shape : info.shape, at::kFloat);
  const std::span<float> out{data.mutable_data_ptr<float>(), static_cast<size_t>(data.numel())};
  if (rows_alone) {
    const int64_t rows = info.shape.size() == 3 ? info.shape[1] : 1;  // of one expert in a stack
    checkpoint_->read_f32_rows(info, slice.offset / rows, tensor.shape[0] / rows, out);
  } else {
    checkpoint_->read_f32(info, out);
  }
  checkpoint_->release(info);
  require_finite(data, tensor);
  if (!tensor.role) return data;
  TensorSlice rest = slice;
  if (rows_alone) {
    rest.group_rows = tensor.shape[0];
    rest.offset = 0;
  }
  return rest.is_whole(data.sizes().vec(), tensor.shape) ? data : extract(data, rest, tensor.shape);
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
