#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/name_table.h"

namespace freelunch::model {

/// The keys of config.json. The defaults are those of the Llama family. Empty: config.json has no such key.
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
  std::string_view window_rope_theta = {};  ///< the base of the second layer type
  std::string_view rotary_share = {};       ///< empty: every dimension of a head rotates
  std::string_view window = {};             ///< sliding window; empty: ignored
};

/// How GGUF files hold the models of an architecture.
struct GgufForm {
  std::string_view name = {};  ///< general.architecture, also the prefix of the keys; empty: GGUF has no form
  /// False if files of this name are read as another architecture, one that shares the name.
  bool read = true;
  /// Keys that only some architectures have, without the prefix. Empty: not written, and refused when read
  /// unless the value changes nothing.
  std::string_view window_key = {};
  std::string_view parallel_key = {};
  bool factor_tensors = false;  ///< readers know the tensors rope_factors_long and _short
  bool caps_scores = false;     ///< readers know attn_logit_softcapping
  bool caps_logits = false;     ///< readers know final_logit_softcapping
  NameTable names = {};
  /// Sets what the files leave unsaid and readers conclude from the architecture's name and the sizes. Called
  /// after the keys were read. Writing refuses a model that this would set differently.
  void (*complete)(Config& config) = nullptr;
};

/// Which numbers of heads readers of an architecture's files load, apart from equal groups
/// (docs/methods/structured.md).
enum class HeadRule {
  kAny,
  kDivideWidth,  ///< transformers refuses a number that does not divide the width
  kFixed         ///< some reader takes width / head_dim for the number
};

/// One architecture as data: what distinguishes it from the others. One file each under architectures/.
struct Architecture {
  std::string_view name = {};                ///< model_type in config.json
  std::string_view hugging_face_class = {};  ///< "architectures" in config.json
  Config base = {};                          ///< what all its models share, and the values of absent keys
  ConfigKeys keys = {};
  HeadRule heads = HeadRule::kFixed;
  bool wide_mlp = false;                 ///< without a key, the MLP is four times as wide as the stream
  bool rope_of_each_layer_type = false;  ///< rope_parameters has an object for each layer type
  bool longrope_only = false;            ///< of all rope scalings only longrope, which "yarn" means too
  int64_t original_length = 0;           ///< original_max_position_embeddings without a key; 0: max_length
  NameTable hugging_face = {};
  GgufForm gguf = {};
  /// Reads from config.json what `keys` does not cover. Called after the keys were read.
  void (*read_json)(Config& config, const nlohmann::json& json) = nullptr;
  /// Writes to config.json what `read_json` reads.
  void (*write_json)(const Config& config, nlohmann::json& json) = nullptr;
};

/// Every architecture of this version, in the order of architectures/list.inc.
std::vector<const Architecture*> all_architectures();

/// The architecture of a model_type. `file` names the file in errors. Throws Unsupported, with the names that
/// are supported, for any other.
const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file);
/// The architecture of a GGUF file's general.architecture, with or without experts. Throws Unsupported
/// likewise.
const Architecture& architecture_of_gguf(std::string_view gguf_name, bool experts, const std::string& file);

/// For a key that has two names in transformers. Throws Unsupported if config.json has both names and their
/// values differ.
void refuse_second_name(const nlohmann::json& json, const char* name, const char* second);

/// For architectures whose config.json gives a window that use_sliding_window switches off. Throws
/// Unsupported if the switch is on, or if a block is said to have a window.
void refuse_sliding_window(const Config& config, const nlohmann::json& json);

}  // namespace freelunch::model
