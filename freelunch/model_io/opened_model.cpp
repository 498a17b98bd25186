#include "freelunch/model_io/opened_model.h"

#include "freelunch/base/error.h"
#include "freelunch/model_io/gguf_tokenizer.h"
#include "freelunch/tokenizer/tokenizer_folder.h"
#include "freelunch/tokenizer/wrapped_tokenizer.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<tokenizer::Tokenizer> open_tokenizer(const model::LanguageModel& model) {
  if (model.gguf() != nullptr) {
    const tokenizer::GgufVocabulary v = gguf_vocabulary(model.gguf()->metadata());
    auto tokenizer = tokenizer::from_gguf(v, model.path().filename().string());
    if (!v.bos && !v.eos) return tokenizer;
    return std::make_unique<tokenizer::NamedEndsTokenizer>(std::move(tokenizer), v.bos, v.eos);
  }
  return tokenizer::from_folder(model.path());
}

/// Adapters (PEFT) are not applied. Refuses a folder that holds only an adapter; warns of one next to a
/// model.
void tell_of_adapter(const fs::path& path, LogSink& log) {
  if (!fs::exists(path / "adapter_config.json")) return;
  const auto has = [&](const char* name) { return fs::exists(path / name); };
  if (!has("model.safetensors") && !has("model.safetensors.index.json") && !has("model.gguf"))
    fail(ErrorKind::kUnsupported,
         "'{}' holds an adapter (adapter_config.json), not a model; merge it into its base model first",
         path.string());
  log.log(LogLevel::kWarning,
          "the folder holds an adapter (adapter_config.json) next to the model: not applied, not copied");
}

}  // namespace

std::unique_ptr<model::LanguageModel> open_weights(const ModelPlace& place, LogSink& log) {
  if (!place.live) tell_of_adapter(place.path, log);
  auto model = place.live ? model::LanguageModel::open(place.path, place.live)
                          : model::LanguageModel::open(place.path);
  for (const std::string& warning : model->warnings()) log.log(LogLevel::kWarning, warning);
  return model;
}

OpenedModel open_model(const ModelPlace& place, TokenizerUse use, LogSink& log) {
  OpenedModel opened{.model = open_weights(place, log), .tokenizer = nullptr};
  if (use == TokenizerUse::kNone) return opened;
  opened.tokenizer = open_tokenizer(*opened.model);
  const int64_t rows = opened.model->config().vocabulary;
  if (opened.tokenizer->size() <= rows) return opened;
  log.log(LogLevel::kWarning,
          fmt::format("the tokenizer has ids up to {}, but the embedding has {} rows; a text "
                      "with a token beyond them is refused",
                      opened.tokenizer->size() - 1, rows));
  opened.tokenizer = std::make_unique<tokenizer::BoundedTokenizer>(std::move(opened.tokenizer), rows);
  return opened;
}

const tokenizer::Tokenizer& OpenedModel::require_tokenizer() const {
  if (tokenizer == nullptr) fail(ErrorKind::kBadFile, "'{}' has no tokenizer", model->path().string());
  return *tokenizer;
}

}  // namespace freelunch::pipeline
