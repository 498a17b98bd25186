#include "pipeline/compression.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

#include "pipeline/memory.h"

namespace freelunch::pipeline {

reconstruct::BlockMasks Compression::masks(int64_t block) const {
  reconstruct::BlockMasks masks;
  for (const model::PartNames& part : model::all_parts()) {
    const model::ModelTensor* tensor = model().find(block, part.part);
    if (!part.matrix || tensor == nullptr) continue;
    masks[part.part] = {store.get(model::mask_name(tensor->name)).to(compute.device)};
  }
  return masks;
}

void Compression::keep(int64_t block, const model::Block& tensors, model::Half half) {
  for (const model::Part part : model::parts_of(half)) {
    if (tensors[part].defined()) store.put(model().find(block, part)->name, tensors[part]);
  }
}

void timed(RunReport& report, const std::string& name, const std::function<std::string()>& stage) {
  release_freed_memory();
  reset_peak_resident();
  const auto start = std::chrono::steady_clock::now();
  const std::string note = stage();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int64_t peak = peak_resident_bytes();
  report.peak_bytes = std::max(report.peak_bytes, peak);
  report.stages.push_back({.name = name, .seconds = seconds, .peak_bytes = peak, .note = note});
}

}  // namespace freelunch::pipeline
