#include "freelunch/model_io/export_smaller.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/checkpoint/files/output_folder.h"
#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "freelunch/checkpoint/shards.h"
#include "freelunch/model/layout.h"
#include "freelunch/model_io/folder_files.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using model::ModelTensor;

constexpr uint64_t kShard = 5'000'000'000;  // as transformers

/// A tensor of the folder.
struct Planned {
  model::StoredTensor stored;
  DType dtype;
  uint64_t bytes;
  std::string file;
};

/// What the smaller model is made from.
struct Source {
  const model::LanguageModel& model;
  const std::vector<int64_t>& blocks;

  /// The original's tensor behind one of the smaller model. Experts are renumbered, and all have the same
  /// dtype.
  const ModelTensor& of(const model::StoredPart& part) const {
    return *model.find(part.block < 0 ? -1 : blocks.at(static_cast<size_t>(part.block)), part.role);
  }
};

std::vector<Planned> plan_tensors(const Source& source, const model::Config& smaller) {
  const model::Architecture& architecture = model::architecture_of_model_type(smaller.architecture, "model");
  std::vector<Planned> plan;
  std::vector<uint64_t> sizes;
  for (model::StoredTensor& stored : model::layout(smaller, architecture.hugging_face)) {
    const DType first = source.of(stored.parts[0]).saved_dtype;
    const bool same = std::all_of(stored.parts.begin(), stored.parts.end(),
                                  [&](const auto& part) { return source.of(part).saved_dtype == first; });
    Planned planned{.stored = std::move(stored), .dtype = same ? first : DType::kF32, .bytes = 0, .file = {}};
    planned.bytes =
        checkpoint::bytes_for(planned.dtype, checkpoint::element_count(planned.stored.shape).value()).value();
    sizes.push_back(planned.bytes);
    plan.push_back(std::move(planned));
  }
  const auto groups = checkpoint::group_by_size(sizes, kShard);
  for (size_t i = 0; i < plan.size(); ++i)
    plan[i].file = checkpoint::shard_name("model", ".safetensors", groups[i], groups.back() + 1);
  return plan;
}

at::ScalarType scalar_type(DType dtype) {
  if (dtype == DType::kF32) return at::kFloat;
  return dtype == DType::kF16 ? at::kHalf : at::kBFloat16;
}

at::Tensor assembled(const Planned& planned, const Source& source,
                     const std::function<at::Tensor(const ModelTensor&)>& tensor) {
  at::Tensor whole = at::empty(planned.stored.shape, at::kFloat);
  for (const model::StoredPart& part : planned.stored.parts) {
    const at::Tensor value = tensor(source.of(part));
    if (value.sizes() != part.shape)
      fail(ErrorKind::kInvalidArgument, "'{}' has not the shape that the smaller model needs", part.name);
    model::insert(value, part.slice, whole);
  }
  const at::Tensor rounded = whole.to(scalar_type(planned.dtype));
  if (!rounded.isfinite().all().item<bool>())
    fail(ErrorKind::kNumerical, "'{}' has a value that {} cannot hold", planned.stored.name,
         checkpoint::name(planned.dtype));
  return rounded;
}

void write_tensors(const std::vector<Planned>& plan, const Source& source,
                   const std::function<at::Tensor(const ModelTensor&)>& tensor, const fs::path& folder,
                   ProgressSink& progress) {
  std::map<std::string, std::vector<const Planned*>> files;
  std::map<std::string, std::string> shard_of;
  uint64_t total = 0;
  for (const Planned& planned : plan) {
    files[planned.file].push_back(&planned);
    shard_of[planned.stored.name] = planned.file;
    total += planned.bytes;
  }
  progress.begin("save the smaller model", static_cast<int64_t>(plan.size()), "tensors");
  int64_t done = 0;
  for (const auto& [file, members] : files) {
    std::vector<checkpoint::TensorPlan> planned;
    for (const Planned* one : members)
      planned.push_back({.name = one->stored.name, .dtype = one->dtype, .shape = one->stored.shape});
    checkpoint::SafetensorsWriter writer(folder / file, std::move(planned), {{"format", "pt"}});
    for (const Planned* one : members) {
      throw_if_interrupted();
      const at::Tensor value = assembled(*one, source, tensor);
      writer.write(one->stored.name, {static_cast<const std::byte*>(value.const_data_ptr()),
                                      static_cast<size_t>(value.nbytes())});
      progress.advance(++done, "");
    }
    writer.finish();
  }
  progress.end();
  if (files.size() > 1)
    checkpoint::write_file_atomically(folder / "model.safetensors.index.json",
                                      checkpoint::safetensors_index(shard_of, total));
}

void warn_of_left_out(const model::LanguageModel& original, LogSink& log) {
  std::string names;
  for (const ModelTensor& tensor : original.tensors()) {
    if (!tensor.role && !model::is_derived_buffer(tensor.name))
      names += (names.empty() ? "'" : ", '") + tensor.name + "'";
  }
  if (!names.empty())
    log.log(LogLevel::kWarning,
            fmt::format("the smaller model has no tensors {}, which the architecture does not know", names));
}

}  // namespace

void export_smaller(const model::LanguageModel& original, const model::Config& smaller,
                    const std::vector<int64_t>& blocks,
                    const std::function<at::Tensor(const ModelTensor&)>& tensor, const fs::path& folder,
                    Sinks sinks) {
  checkpoint::OutputFolder output(folder, /*overwrite=*/true);
  warn_of_left_out(original, sinks.log);
  write_smaller_config(original, smaller, blocks, output.path());
  write_other_files(original, output.path());
  const Source source{.model = original, .blocks = blocks};
  write_tensors(plan_tensors(source, smaller), source, tensor, output.path(), sinks.progress);
  output.commit();
}

}  // namespace freelunch::pipeline
