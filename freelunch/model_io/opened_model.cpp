#include "freelunch/model_io/opened_model.h"

#include "freelunch/base/error.h"
#include "freelunch/model_io/gguf_tokenizer.h"
#include "freelunch/tokenizer/tokenizer_folder.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<tokenizer::Tokenizer> open_tokenizer(const model::LanguageModel& model) {
  if (model.gguf() != nullptr) {
    return tokenizer::from_gguf(gguf_vocabulary(model.gguf()->metadata()), model.path().filename().string());
  }
  return tokenizer::from_folder(model.path());
}

}  // namespace

OpenedModel open_model(const fs::path& path, TokenizerUse use) {
  OpenedModel opened{.model = model::LanguageModel::open(path), .tokenizer = nullptr};
  if (use == TokenizerUse::kNone) return opened;
  opened.tokenizer = open_tokenizer(*opened.model);
  return opened;
}

const tokenizer::Tokenizer& OpenedModel::require_tokenizer() const {
  if (tokenizer == nullptr) fail(ErrorKind::kBadFile, "'{}' has no tokenizer", model->path().string());
  return *tokenizer;
}

}  // namespace freelunch::pipeline
