#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/model/language_model.h"

namespace freelunch::pipeline {

/// Writes a model of another shape than the one it was made from: a dense Hugging Face folder with the
/// original's tokenizer and other files, its config.json with the sizes of `smaller`, and every tensor that
/// the smaller model has. Its blocks are `blocks` of the original. `tensor` gives the smaller version of one
/// of the original's tensors, fp32 on the CPU in the shape that `smaller` asks for; each keeps its saved
/// dtype. The folder appears in one step. Tensors that the architecture does not know are left out, with a
/// warning. Throws InvalidArgument if a tensor has another shape, Numerical if its dtype cannot hold a value,
/// Unsupported if config.json cannot declare the sizes.
void export_smaller(const model::LanguageModel& original, const model::Config& smaller,
                    const std::vector<int64_t>& blocks,
                    const std::function<at::Tensor(const model::ModelTensor&)>& tensor,
                    const std::filesystem::path& folder, Sinks sinks);

}  // namespace freelunch::pipeline
