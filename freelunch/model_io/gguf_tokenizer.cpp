#include "freelunch/model_io/gguf_tokenizer.h"

#include "freelunch/architecture/special_tokens.h"

namespace freelunch::pipeline {

tokenizer::GgufVocabulary gguf_vocabulary(const checkpoint::GgufMetadata& metadata) {
  tokenizer::GgufVocabulary v;
  const auto flag = [&](const char* key) -> std::optional<bool> {
    if (!metadata.has(key)) return std::nullopt;
    return metadata.get_bool(key);
  };
  v.model = metadata.get_string("tokenizer.ggml.model");
  v.pre = metadata.get_string("tokenizer.ggml.pre", "default");
  v.tokens = metadata.get_strings("tokenizer.ggml.tokens");
  // byte-level BPE needs them: without, every byte would be a token of its own
  v.merges = v.model == "gpt2" ? metadata.get_strings("tokenizer.ggml.merges")
                               : metadata.get_strings("tokenizer.ggml.merges", {});
  v.token_types = metadata.get_ints("tokenizer.ggml.token_type", {});
  const auto id = [&](const char* key) -> std::optional<tokenizer::TokenId> {
    const auto found = model::special_token(metadata, key, static_cast<int64_t>(v.tokens.size()));
    return found ? std::optional(static_cast<tokenizer::TokenId>(*found)) : std::nullopt;
  };
  v.bos = id("tokenizer.ggml.bos_token_id");
  v.eos = id("tokenizer.ggml.eos_token_id");
  v.unk = id("tokenizer.ggml.unknown_token_id");
  v.pad = id("tokenizer.ggml.padding_token_id");
  v.add_bos = flag("tokenizer.ggml.add_bos_token");
  v.add_eos = flag("tokenizer.ggml.add_eos_token");
  v.scores = metadata.get_floats("tokenizer.ggml.scores", {});
  v.add_space_prefix = flag("tokenizer.ggml.add_space_prefix");
  v.remove_extra_whitespaces = metadata.get_bool("tokenizer.ggml.remove_extra_whitespaces", false);
  v.has_charsmap = metadata.has("tokenizer.ggml.precompiled_charsmap");
  return v;
}

}  // namespace freelunch::pipeline
