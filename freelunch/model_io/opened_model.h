#pragma once
#include <concepts>
#include <filesystem>
#include <memory>
#include <utility>

#include "freelunch/base/sinks.h"
#include "freelunch/model/language_model.h"
#include "freelunch/model/live_tensors.h"
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

/// Where a model is: a path, and perhaps tensors in memory.
struct ModelPlace {
  std::filesystem::path path;
  /// If set, `path` is a Hugging Face folder that holds everything but the tensors.
  std::shared_ptr<const model::LiveTensors> live;

  template <std::convertible_to<std::filesystem::path> Path>
  ModelPlace(const Path& at) : path(at) {}  // NOLINT(google-explicit-constructor): a path is a place
  ModelPlace(std::filesystem::path at, std::shared_ptr<const model::LiveTensors> tensors)
      : path(std::move(at)), live(std::move(tensors)) {}
};

/// Opens a Hugging Face folder, a sparse archive or a GGUF file, and its tokenizer unless `use` is kNone.
/// Reads no tensor, except that a head and an embedding that config.json ties are compared. `log` receives
/// what was assumed or ignored, as warnings. The tokenizer may have more tokens than the embedding has rows;
/// its encode() throws BadFile for a text that holds such a token. Throws BadFile if a file is missing or
/// broken, Unsupported for an unknown architecture or tokenizer.
OpenedModel open_model(const ModelPlace& place, TokenizerUse use, LogSink& log = silent_sinks().log);

/// Opens a model without its tokenizer and logs its warnings.
std::unique_ptr<model::LanguageModel> open_weights(const ModelPlace& place, LogSink& log);

}  // namespace freelunch::pipeline
