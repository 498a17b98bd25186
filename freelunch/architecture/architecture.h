#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/name_table.h"

namespace freelunch::model {

/// The keys of config.json; those of llama's family unless an architecture says otherwise.
struct ConfigKeys {
  std::string_view vocabulary = "vocab_size";
  std::string_view width = "hidden_size";
  std::string_view intermediate = "intermediate_size";
  std::string_view blocks = "num_hidden_layers";
  std::string_view heads = "num_attention_heads";
  std::string_view kv_heads = "num_key_value_heads";
  std::string_view head_dim = "head_dim";
  std::string_view max_length = "max_position_embeddings";
  std::string_view norm_epsilon = "rms_norm_eps";
  std::string_view activation = "hidden_act";
  std::string_view rope_theta = "rope_theta";
  std::string_view rotary_share = "partial_rotary_factor";
};

/// What tells one architecture from its relatives, as data: one file each under architectures/.
struct Architecture {
  std::string_view name = {};                ///< as config.json's model_type
  std::string_view hugging_face_class = {};  ///< as config.json's "architectures"
  std::string_view gguf_name = {};  ///< as GGUF's general.architecture; empty: GGUF has none of its own
  Config base = {};                 ///< what all its models share, and what absent keys mean
  ConfigKeys keys = {};
  bool wide_mlp = false;  ///< the MLP is four times as wide as the stream where config.json is silent
  NameTable hugging_face = {};
  NameTable gguf = {};
  /// Sets what the keys above cannot tell, after they have been read. `hf` is config.json's object, or null
  /// for a GGUF file.
  void (*adjust)(Config& config, const nlohmann::json* hf) = nullptr;
  /// Adds to a config.json what `adjust` reads from one.
  void (*describe)(const Config& config, nlohmann::json& hf) = nullptr;
};

const Architecture& gemma2();
const Architecture& gemma3();
const Architecture& gpt2();
const Architecture& gpt_neox();
const Architecture& llama();
const Architecture& mistral();
const Architecture& mixtral();
const Architecture& olmo2();
const Architecture& opt();
const Architecture& phi3();
const Architecture& qwen2();
const Architecture& qwen3();
const Architecture& qwen3_moe();

/// For architectures whose config.json names a window that use_sliding_window switches off: drops it, and
/// throws Unsupported where it is on. `hf` as in Architecture::adjust.
void refuse_sliding_window(Config& config, const nlohmann::json* hf);

/// Every architecture this version handles.
std::vector<const Architecture*> all_architectures();

/// The architecture of a model_type; throws Unsupported naming it, those that are handled, and what it would
/// take.
const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file);
/// The architecture of a GGUF's general.architecture, with or without experts; throws Unsupported likewise.
const Architecture& architecture_of_gguf(std::string_view gguf_name, bool experts, const std::string& file);

}  // namespace freelunch::model
