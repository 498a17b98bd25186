#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Mixtral: mistral with a mixture of experts in every block. GGUF files name it "llama".
const Architecture& mixtral() {
  static const Architecture architecture{
      .name = "mixtral",
      .hugging_face_class = "MixtralForCausalLM",
      .base = {.kv_heads = 8,
               .max_length = 131072,
               .experts = {.count = 8, .chosen = 2},
               .layer_types = {{.rope_theta = 1e6}}},
      .keys = {.window = "sliding_window"},
      .heads = HeadRule::kAny,
      .hugging_face = {.roles = with(llama_names(), {{WeightRole::kRouter, "block_sparse_moe.gate.weight"}}),
                       .experts = {{WeightRole::kGate, "block_sparse_moe.experts.{e}.w1.weight"},
                                   {WeightRole::kUp, "block_sparse_moe.experts.{e}.w3.weight"},
                                   {WeightRole::kDown, "block_sparse_moe.experts.{e}.w2.weight"}},
                       .base_prefix = "model."},
      .gguf = {.name = "llama", .names = rotary_pairs(gguf_table())},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            refuse_second_name(json, "num_local_experts", "num_experts");
            // "num_experts" is its other name in transformers
            config.experts.count =
                json.value("num_local_experts", json.value("num_experts", config.experts.count));
            config.experts.chosen = json.value("num_experts_per_tok", config.experts.chosen);
            config.experts.intermediate = config.intermediate;
          },
      .write_json =
          [](const Config& config, nlohmann::json& json) {
            json["num_local_experts"] = config.experts.count;
            json["num_experts_per_tok"] = config.experts.chosen;
          }};
  return architecture;
}

}  // namespace freelunch::model
