#include "freelunch/model_io/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include "freelunch/architecture/gguf_config.h"
#include "freelunch/base/printable.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer_folder.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::GgufMetadata;
using checkpoint::GgufValue;

void add_vocabulary(GgufMetadata& metadata, const tokenizer::GgufVocabulary& v) {
  metadata.add("tokenizer.ggml.model", GgufValue::string(v.model));
  metadata.add("tokenizer.ggml.pre", GgufValue::string(v.pre));
  metadata.add("tokenizer.ggml.tokens", GgufValue::strings(v.tokens));
  metadata.add("tokenizer.ggml.token_type", GgufValue::int32s(v.token_types));
  if (v.scores.empty()) {
    metadata.add("tokenizer.ggml.merges", GgufValue::strings(v.merges));
  } else {
    metadata.add("tokenizer.ggml.scores", GgufValue::floats(v.scores));
  }
  const auto id = [&](const char* key, const std::optional<tokenizer::TokenId>& token) {
    if (token) metadata.add(key, GgufValue::uint32(static_cast<uint32_t>(*token)));
  };
  id("tokenizer.ggml.bos_token_id", v.bos);
  id("tokenizer.ggml.eos_token_id", v.eos);
  id("tokenizer.ggml.unknown_token_id", v.unk);
  id("tokenizer.ggml.padding_token_id", v.pad);
  const auto flag = [&](const char* key, const std::optional<bool>& value) {
    if (value) metadata.add(key, GgufValue::boolean(*value));
  };
  flag("tokenizer.ggml.add_bos_token", v.add_bos);
  flag("tokenizer.ggml.add_eos_token", v.add_eos);
  flag("tokenizer.ggml.add_space_prefix", v.add_space_prefix);
  if (v.remove_extra_whitespaces)
    metadata.add("tokenizer.ggml.remove_extra_whitespaces", GgufValue::boolean(true));
}

/// Readers stop at EOS, EOT and EOM, so the end tokens that are not EOS become these two.
void add_end_tokens(GgufMetadata& metadata, const std::vector<int64_t>& ends,
                    const std::optional<tokenizer::TokenId>& eos, LogSink& log) {
  std::vector<int64_t> others;
  for (const int64_t id : ends) {
    if (id != eos) others.push_back(id);
  }
  const std::array<const char*, 2> keys{"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < std::min(others.size(), keys.size()); ++i)
    metadata.add(keys[i], GgufValue::uint32(static_cast<uint32_t>(others[i])));
  if (others.size() > keys.size())
    log.log(LogLevel::kWarning,
            fmt::format("GGUF has keys for three of the {} tokens that end a text", ends.size()));
}

/// The keys of the gguf package: the default, and the others by name, with '_' for what is no letter or
/// digit.
void add_chat_templates(GgufMetadata& metadata, const std::vector<tokenizer::ChatTemplate>& templates) {
  std::vector<std::string> names;
  for (const tokenizer::ChatTemplate& t : templates) {
    std::string name = t.name;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return c >= 128 || std::isalnum(c) == 0; }, '_');
    if (name == "default") {
      metadata.set("tokenizer.chat_template", GgufValue::string(t.text));
      continue;
    }
    metadata.set("tokenizer.chat_template." + name, GgufValue::string(t.text));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (!names.empty()) metadata.add("tokenizer.chat_templates", GgufValue::strings(names));
}

}  // namespace

GgufMetadata gguf_metadata_of(const model::LanguageModel& model, LogSink& log) {
  if (model.gguf() != nullptr) return model.gguf()->metadata();
  const fs::path& folder = model.path();
  GgufMetadata metadata = model::config_to_gguf(model.config());
  metadata.add("general.type", GgufValue::string("model"));
  const fs::path absolute = fs::absolute(folder).lexically_normal();  // "model/" is called "model"
  const fs::path named = absolute.has_filename() ? absolute : absolute.parent_path();
  metadata.add("general.name", GgufValue::string(named.filename().string()));
  auto found = tokenizer::gguf_vocabulary_of_folder(folder, model.config().vocabulary);
  if (!found) return metadata;
  tokenizer::GgufVocabulary& vocabulary = *found;
  const auto fits = [&](const std::optional<int64_t>& id) {
    return id && *id >= 0 && *id < model.config().vocabulary;
  };
  if (!vocabulary.bos && fits(model.config().bos))
    vocabulary.bos = static_cast<tokenizer::TokenId>(*model.config().bos);
  if (!vocabulary.eos && fits(model.config().eos))
    vocabulary.eos = static_cast<tokenizer::TokenId>(*model.config().eos);
  add_vocabulary(metadata, vocabulary);
  if (!vocabulary.dropped.empty()) {
    log.log(LogLevel::kWarning,
            fmt::format("left out of the file, because the embedding has no rows for them: {}",
                        first_of(vocabulary.dropped)));
  }
  add_end_tokens(metadata, model.end_tokens(), vocabulary.eos, log);
  add_chat_templates(metadata, tokenizer::chat_templates_of_folder(folder));
  return metadata;
}

}  // namespace freelunch::pipeline
