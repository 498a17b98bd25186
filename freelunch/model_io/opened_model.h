#pragma once
#include <filesystem>
#include <memory>

#include "freelunch/model/language_model.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::pipeline {

/// An open model and, if it was asked for, its tokenizer.
struct OpenedModel {
  std::unique_ptr<model::LanguageModel> model;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;

  /// The tokenizer. Throws BadFile if it was not opened.
  const tokenizer::Tokenizer& require_tokenizer() const;
};

enum class TokenizerUse { kRequired, kNone };

/// Opens a Hugging Face folder, a sparse archive or a GGUF file, and its tokenizer unless `use` is kNone.
/// Reads no tensor, but for embedding and head of a folder that holds both although its configuration says
/// that they are one. Throws BadFile if a file is missing or broken, Unsupported for an unknown architecture
/// or tokenizer.
OpenedModel open_model(const std::filesystem::path& path, TokenizerUse use);

}  // namespace freelunch::pipeline
