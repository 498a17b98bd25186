#pragma once
#include <cstddef>
#include <functional>
#include <span>

#include "freelunch/checkpoint/dtype.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::pipeline {

/// How a tensor is to be stored.
struct StoredAs {
  checkpoint::DType dtype = checkpoint::DType::kF32;
  bool plain_zeros = false;
};

/// Whether `write` would copy the checkpoint's bytes as they are.
bool is_verbatim(const model::WeightView& weights, const model::SavedTensor& tensor, const StoredAs& as);

/// Visits a dense tensor's values, fp32: some rows at a time where they lie in the file as they are, so that
/// embeddings, as large as a small model's other weights together, are never held whole; else all at once.
/// Throws BadFile if one is NaN or infinity.
void for_each_rows(const model::LanguageModel& model, const model::ModelTensor& tensor,
                   const std::function<void(const at::Tensor&)>& visit);

/// Visits a tensor's data in order, in pieces of whole rows (a tensor of one dimension is one row). A tensor
/// that has not changed and keeps its place and dtype is copied byte by byte; any other is read as fp32 and
/// rounded. The zeros of a changed tensor are plain. Throws Numerical naming the tensor if the dtype
/// cannot hold a value.
void for_each_piece(const model::WeightView& weights, const model::SavedTensor& tensor, const StoredAs& as,
                    const std::function<void(std::span<const std::byte>)>& visit);

}  // namespace freelunch::pipeline
