#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// Qwen3 with mixtures of experts, in all blocks except those that config.json names.
const Architecture& qwen3_moe() {
  static const Architecture architecture{
      .name = "qwen3_moe",
      .hugging_face_class = "Qwen3MoeForCausalLM",
      .base = {.kv_heads = 4,
               .max_length = 32768,
               .norm_epsilon = 1e-6,
               .experts = {.count = 128, .chosen = 8, .intermediate = 768},
               .head_norm = HeadNorm::kEach},
      .heads = HeadRule::kAny,
      .hugging_face = {.roles = with(llama_names(), {{WeightRole::kRouter, "mlp.gate.weight"}}),
                       .experts = {{WeightRole::kGate, "mlp.experts.{e}.gate_proj.weight"},
                                   {WeightRole::kUp, "mlp.experts.{e}.up_proj.weight"},
                                   {WeightRole::kDown, "mlp.experts.{e}.down_proj.weight"}},
                       .base_prefix = "model."},
      .gguf = {.name = "qwen3moe", .names = gguf_table()},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            refuse_sliding_window(config, json);
            Experts& experts = config.experts;
            config.qkv_bias = config.output_bias = json.value("attention_bias", false);
            // transformers 5 writes the count under the key of Mixtral
            experts.count = json.value("num_experts", json.value("num_local_experts", experts.count));
            experts.chosen = json.value("num_experts_per_tok", experts.chosen);
            experts.intermediate = json.value("moe_intermediate_size", experts.intermediate);
            experts.weights_sum_to_one = json.value("norm_topk_prob", false);
            const auto step = json.value("decoder_sparse_step", int64_t{1});
            const auto listed = json.find("mlp_only_layers");
            const auto dense = listed == json.end() || listed->is_null()
                                   ? std::vector<int64_t>{}
                                   : listed->get<std::vector<int64_t>>();
            if (step < 1) fail(ErrorKind::kBadFile, "config.json: decoder_sparse_step is {}", step);
            for (int64_t b = 0; b < config.blocks; ++b) {
              const bool excepted = std::find(dense.begin(), dense.end(), b) != dense.end();
              experts.of_block.push_back(!excepted && (b + 1) % step == 0);
            }
          },
      .write_json =
          [](const Config& config, nlohmann::json& json) {
            json["attention_bias"] = config.qkv_bias;
            json["num_experts"] = config.experts.count;
            json["num_experts_per_tok"] = config.experts.chosen;
            json["moe_intermediate_size"] = config.experts.intermediate;
            json["norm_topk_prob"] = config.experts.weights_sum_to_one;
          }};
  return architecture;
}

}  // namespace freelunch::model
