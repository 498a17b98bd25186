#include "pipeline/opened_model.h"

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "pipeline/gguf_tokenizer.h"
#include "tokenizer/tokenizer_json.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<tokenizer::Tokenizer> open_tokenizer(const model::LanguageModel& model) {
  if (model.gguf() != nullptr) {
    return tokenizer::from_gguf(gguf_vocabulary(model.gguf()->metadata()), model.path().filename().string());
  }
  const fs::path file = model.path() / "tokenizer.json";
  if (!fs::exists(file)) {
    const bool sentence_piece = fs::exists(model.path() / "tokenizer.model");
    fail(sentence_piece ? ErrorKind::kUnsupported : ErrorKind::kBadFile, "'{}' has no tokenizer.json{}",
         model.path().string(), sentence_piece ? "; tokenizer.model is not supported yet" : "");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) fail(ErrorKind::kIo, "cannot open '{}': {}", file.string(), system_error_text());
  std::stringstream text;
  text << stream.rdbuf();
  return tokenizer::from_tokenizer_json(text.str(), "tokenizer.json");
}

}  // namespace

OpenedModel open_model(const fs::path& path, TokenizerUse use) {
  OpenedModel opened{.model = model::LanguageModel::open(path), .tokenizer = nullptr};
  if (use == TokenizerUse::kNone) return opened;
  opened.tokenizer = open_tokenizer(*opened.model);
  if (opened.tokenizer->size() > opened.model->config().vocabulary) {
    fail(ErrorKind::kBadFile, "'{}': the tokenizer has ids up to {}, but the embedding has {} rows",
         path.string(), opened.tokenizer->size() - 1, opened.model->config().vocabulary);
  }
  return opened;
}

const tokenizer::Tokenizer& OpenedModel::require_tokenizer() const {
  if (tokenizer == nullptr) fail(ErrorKind::kBadFile, "'{}' has no tokenizer", model->path().string());
  return *tokenizer;
}

}  // namespace freelunch::pipeline
