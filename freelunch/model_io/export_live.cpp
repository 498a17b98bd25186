#include "freelunch/model_io/export_live.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"

namespace freelunch::pipeline {

void write_live(const model::WeightView& weights, const model::LiveTensors& tensors, bool plain_zeros,
                ProgressSink& progress) {
  std::vector<model::SavedTensor> written = weights.dense().hugging_face_tensors();
  std::erase_if(written, [&](const model::SavedTensor& tensor) {
    const bool clears = plain_zeros && checkpoint::converts_to_f32(tensor.dtype);
    return tensor.source == nullptr || !(weights.changed(tensor) || clears);
  });
  const auto count = static_cast<int64_t>(written.size());
  int64_t done = 0;
  progress.begin("save", 2 * count, "tensors, checked and written");
  for (const model::SavedTensor& tensor : written) {
    throw_if_interrupted();
    tensors.check_values(*tensor.source, weights.assembled(tensor));
    progress.advance(++done, "");
  }
  for (const model::SavedTensor& tensor : written) {
    // a masked weight may be a negative zero; adding zero makes it positive
    tensors.write(*tensor.source, weights.assembled(tensor).add_(0.0));
    progress.advance(++done, "");
  }
  progress.end();
}

}  // namespace freelunch::pipeline
