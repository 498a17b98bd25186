#pragma once
#include <cstddef>
#include <functional>
#include <span>

#include "freelunch/checkpoint/dtype.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::pipeline {

/// How a tensor is stored.
struct StoredAs {
  checkpoint::DType dtype = checkpoint::DType::kF32;
  bool plain_zeros = false;  ///< write negative zeros as positive ones
};

/// True if for_each_piece copies the checkpoint's bytes: the tensor is unchanged and keeps its dtype.
bool is_verbatim(const model::WeightView& weights, const model::SavedTensor& tensor, const StoredAs& as);

/// Visits the values of a tensor of the dense model, fp32. A matrix that is stored unpermuted is visited some
/// rows at a time, so that an embedding, which can be as large as all other weights of a small model, is
/// never held whole; any other tensor is visited at once. Throws BadFile if a value is NaN or infinity.
void for_each_rows(const model::LanguageModel& model, const model::ModelTensor& tensor,
                   const std::function<void(const at::Tensor&)>& visit);

/// Visits the bytes of a tensor as it is saved, in order, in pieces of whole rows (a tensor of one dimension
/// is one row) of about 16 MiB. An is_verbatim() tensor is copied; any other is read as fp32 and rounded. A
/// changed tensor has no negative zeros. Throws Numerical, naming the tensor, if the dtype cannot hold a
/// value, and Unsupported if a row is not a multiple of the dtype's block.
void for_each_piece(const model::WeightView& weights, const model::SavedTensor& tensor, const StoredAs& as,
                    const std::function<void(std::span<const std::byte>)>& visit);

}  // namespace freelunch::pipeline
