#include "freelunch/model_io/export.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/checkpoint/bitmask/bitmask.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "freelunch/checkpoint/shards.h"
#include "freelunch/model_io/folder_files.h"
#include "freelunch/model_io/tensor_pieces.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using checkpoint::MatrixShape;
using model::SavedTensor;

constexpr uint64_t kDefaultShard = 5'000'000'000;  // as transformers

/// A tensor of the output, dense or packed.
struct Planned {
  SavedTensor tensor;
  StoredAs as;
  uint64_t bytes = 0;  ///< in its file
  bool packed = false;
  int64_t values = 0;  ///< packed: how many
  std::string file;
};

MatrixShape matrix_shape(const Planned& planned) {
  return {.rows = planned.tensor.shape[0],
          .columns = planned.tensor.shape[1],
          .element_bytes = checkpoint::block_bytes(planned.as.dtype)};
}

/// "model.layers.0.mlp.up_proj": the prefix of the tensors that an archive stores for a matrix.
std::string archive_key(const SavedTensor& tensor) {
  return tensor.name.substr(0, tensor.name.size() - std::string_view(".weight").size());
}

/// Decides whether a tensor is packed: a matrix that is smaller when packed. Reads the tensor once.
void plan_packing(const model::WeightView& weights, Planned& planned) {
  const SavedTensor& tensor = planned.tensor;
  if (tensor.shape.size() != 2 || planned.bytes == 0 || !tensor.name.ends_with(".weight") ||
      !checkpoint::converts_to_f32(planned.as.dtype)) {
    return;
  }
  const MatrixShape shape = matrix_shape(planned);
  for_each_piece(weights, tensor, planned.as, [&](std::span<const std::byte> piece) {
    planned.values += checkpoint::count_values(piece, shape.element_bytes);
  });
  const uint64_t archived = checkpoint::archived_bytes(shape, planned.values);
  planned.packed = archived < planned.bytes;
  if (planned.packed) planned.bytes = archived;
}

std::vector<Planned> plan_tensors(const model::WeightView& weights, const OutputOptions& options,
                                  const std::function<void()>& advance) {
  std::vector<Planned> plan;
  for (SavedTensor& tensor : weights.dense().hugging_face_tensors()) {
    throw_if_interrupted();
    const bool is_float = checkpoint::converts_to_f32(tensor.dtype);
    Planned planned{.tensor = std::move(tensor), .as = {.plain_zeros = options.plain_zeros}};
    const DType own = planned.tensor.dtype;
    planned.as.dtype = is_float ? options.dtype.value_or(own) : own;
    planned.bytes =
        checkpoint::bytes_for(planned.as.dtype, checkpoint::element_count(planned.tensor.shape).value())
            .value();
    if (options.format == Format::kBitmask) {
      plan_packing(weights, planned);
      advance();
    }
    plan.push_back(std::move(planned));
  }
  return plan;
}

/// Assigns tensors to the input's files, or to new files of at most the requested size.
void assign_files(std::vector<Planned>& plan, const model::LanguageModel& model,
                  const OutputOptions& options) {
  if (model.gguf() == nullptr && !options.shard_bytes) {
    for (Planned& planned : plan) planned.file = planned.tensor.file;
    return;
  }
  std::vector<uint64_t> sizes;
  for (const Planned& planned : plan) sizes.push_back(planned.bytes);
  const auto groups = checkpoint::group_by_size(sizes, options.shard_bytes.value_or(kDefaultShard));
  for (size_t i = 0; i < plan.size(); ++i)
    plan[i].file = checkpoint::shard_name("model", ".safetensors", groups[i], groups.back() + 1);
}

/// The tensors that the file stores for one tensor of the model.
std::vector<checkpoint::TensorPlan> file_tensors(const Planned& planned) {
  const SavedTensor& tensor = planned.tensor;
  if (!planned.packed) return {{tensor.name, planned.as.dtype, tensor.shape}};
  const MatrixShape shape = matrix_shape(planned);
  const std::string key = archive_key(tensor);
  return {{key + ".shape", DType::kI64, {2}},
          {key + ".row_offsets", DType::kI64, {shape.rows}},
          {key + ".compressed", planned.as.dtype, {planned.values}},
          {key + ".bitmask", DType::kU8, {shape.rows, shape.mask_bytes()}}};
}

void write_packed(const model::WeightView& weights, const Planned& planned,
                  checkpoint::TensorWriter& writer) {
  const MatrixShape shape = matrix_shape(planned);
  const std::string key = archive_key(planned.tensor);
  std::vector<int64_t> offsets;
  int64_t values = 0;
  for_each_piece(weights, planned.tensor, planned.as, [&](std::span<const std::byte> piece) {
    const checkpoint::PackedRows packed = checkpoint::pack_rows(piece, shape, values);
    values += static_cast<int64_t>(packed.values.size()) / shape.element_bytes;
    offsets.insert(offsets.end(), packed.row_offsets.begin(), packed.row_offsets.end());
    writer.append(key + ".compressed", packed.values);
    writer.append(key + ".bitmask", packed.mask);
  });
  writer.write(key + ".shape", std::as_bytes(std::span(planned.tensor.shape)));
  writer.write(key + ".row_offsets", std::as_bytes(std::span(offsets)));
}

void write_file(const model::WeightView& weights, const std::vector<const Planned*>& tensors,
                const fs::path& file, const std::function<void()>& advance) {
  std::vector<checkpoint::TensorPlan> plan;
  for (const Planned* planned : tensors) {
    for (checkpoint::TensorPlan& role : file_tensors(*planned)) plan.push_back(std::move(role));
  }
  checkpoint::SafetensorsWriter writer(file, std::move(plan), {{"format", "pt"}});
  for (const Planned* planned : tensors) {
    throw_if_interrupted();
    if (planned->packed) {
      write_packed(weights, *planned, writer);
    } else {
      for_each_piece(weights, planned->tensor, planned->as,
                     [&](std::span<const std::byte> piece) { writer.append(planned->tensor.name, piece); });
    }
    advance();
  }
  writer.finish();
}

void write_index(const std::vector<Planned>& plan, const fs::path& folder) {
  std::map<std::string, std::string> shard_of;
  uint64_t total = 0;
  for (const Planned& planned : plan) {
    for (const checkpoint::TensorPlan& role : file_tensors(planned)) shard_of[role.name] = planned.file;
    total += planned.bytes;
  }
  checkpoint::write_file_atomically(folder / "model.safetensors.index.json",
                                    checkpoint::safetensors_index(shard_of, total));
}

}  // namespace

void export_folder(const OpenedModel& opened, const model::WeightView& weights, const fs::path& folder,
                   const OutputOptions& options, ProgressSink& progress) {
  const bool packs = options.format == Format::kBitmask;
  const auto tensors = static_cast<int64_t>(weights.dense().hugging_face_tensors().size());
  int64_t done = 0;
  const auto advance = [&] { progress.advance(++done, ""); };
  progress.begin("save", packs ? 2 * tensors : tensors, packs ? "tensors, counted and written" : "tensors");
  try {
    std::vector<Planned> plan = plan_tensors(weights, options, advance);
    assign_files(plan, weights.dense(), options);
    write_config(*opened.model, options, folder);
    write_other_files(*opened.model, folder);
    std::map<std::string, std::vector<const Planned*>> files;
    for (const Planned& planned : plan) files[planned.file].push_back(&planned);
    for (const auto& [file, members] : files) write_file(weights, members, folder / file, advance);
    if (files.size() > 1 || !files.contains("model.safetensors")) write_index(plan, folder);
  } catch (const fs::filesystem_error& error) {
    fail(ErrorKind::kIo, "cannot copy '{}' to '{}': {}", error.path1().string(), folder.string(),
         error.code().message());
  }
  progress.end();
}

void export_model(const OpenedModel& opened, const model::WeightView& weights, const fs::path& folder,
                  const OutputOptions& options, Sinks sinks) {
  if (options.format == Format::kGguf) {
    export_gguf(opened, weights, folder / "model.gguf", options, sinks);
  } else {
    export_folder(opened, weights, folder, options, sinks.progress);
  }
}

}  // namespace freelunch::pipeline
