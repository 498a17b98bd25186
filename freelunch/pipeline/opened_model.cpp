#include "pipeline/opened_model.h"

#include <fstream>
#include <sstream>

#include "base/error.h"
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

tokenizer::GgufVocabulary gguf_vocabulary(const checkpoint::GgufMetadata& metadata) {
  tokenizer::GgufVocabulary v;
  const auto id = [&](const char* key) -> std::optional<tokenizer::TokenId> {
    if (!metadata.has(key)) return std::nullopt;
    return static_cast<tokenizer::TokenId>(metadata.get_uint(key));
  };
  const auto flag = [&](const char* key) -> std::optional<bool> {
    if (!metadata.has(key)) return std::nullopt;
    return metadata.get_bool(key);
  };
  v.model = metadata.get_string("tokenizer.ggml.model");
  v.pre = metadata.get_string("tokenizer.ggml.pre", "default");
  v.tokens = metadata.get_strings("tokenizer.ggml.tokens");
  v.merges = metadata.get_strings("tokenizer.ggml.merges", {});
  v.token_types = metadata.get_ints("tokenizer.ggml.token_type", {});
  v.bos = id("tokenizer.ggml.bos_token_id");
  v.eos = id("tokenizer.ggml.eos_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.pad = id("tokenizer.ggml.padding_token_id");
  v.add_bos = flag("tokenizer.ggml.add_bos_token");
  v.add_eos = flag("tokenizer.ggml.add_eos_token");
  return v;
}

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
