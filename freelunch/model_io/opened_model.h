#pragma once
#include <filesystem>
#include <memory>

#include "freelunch/base/sinks.h"
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
/// Reads no tensor, except that a head and an embedding that config.json ties are compared. `log` receives
/// what was assumed or ignored, as warnings. The tokenizer may have more tokens than the embedding has rows;
/// its encode() throws BadFile for a text that holds such a token. Throws BadFile if a file is missing or
/// broken, Unsupported for an unknown architecture or tokenizer.
OpenedModel open_model(const std::filesystem::path& path, TokenizerUse use,
                       LogSink& log = silent_sinks().log);

/// Opens a model without its tokenizer and logs its warnings.
std::unique_ptr<model::LanguageModel> open_weights(const std::filesystem::path& path, LogSink& log);

}  // namespace freelunch::pipeline
