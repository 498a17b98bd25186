#pragma once
#include <optional>
#include <string>

#include "model/language_model.h"

namespace freelunch::model {

/// A tensor's name in a GGUF file; empty if the format has none for it.
std::optional<std::string> gguf_name(const ModelTensor& tensor);

}  // namespace freelunch::model
