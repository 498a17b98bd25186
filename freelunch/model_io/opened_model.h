#pragma once
#include <filesystem>
#include <memory>

#include "freelunch/model/language_model.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::pipeline {

/// A model and, where it brings one, its tokenizer.
struct OpenedModel {
  std::unique_ptr<model::LanguageModel> model;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;

  /// Throws BadFile saying that the model brings no tokenizer.
  const tokenizer::Tokenizer& require_tokenizer() const;
};

enum class TokenizerUse { kRequired, kNone };

/// Opens a Hugging Face folder or GGUF file and its tokenizer. Throws BadFile if token ids exceed the
/// embedding.
OpenedModel open_model(const std::filesystem::path& path, TokenizerUse use);

}  // namespace freelunch::pipeline
