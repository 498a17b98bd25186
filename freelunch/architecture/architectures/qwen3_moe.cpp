#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// Qwen3 with mixtures of experts, in all blocks but those that config.json excepts.
const Architecture& qwen3_moe() {
  static const Architecture architecture{
      .name = "qwen3_moe",
      .hugging_face_class = "Qwen3MoeForCausalLM",
      .gguf_name = "qwen3moe",
      .base = {.norm_epsilon = 1e-6,
               .experts = {.count = 128, .chosen = 8, .intermediate = 768},
               .head_norm = HeadNorm::kEach},
      .hugging_face = {.parts = with(llama_names(), {{WeightRole::kRouter, "mlp.gate.weight"}}),
                       .experts = {{WeightRole::kGate, "mlp.experts.{e}.gate_proj.weight"},
                                   {WeightRole::kUp, "mlp.experts.{e}.up_proj.weight"},
                                   {WeightRole::kDown, "mlp.experts.{e}.down_proj.weight"}},
                       .base_prefix = "model."},
      .gguf = gguf_table(),
      .adjust =
          [](Config& config, const nlohmann::json* hf) {
            refuse_sliding_window(config, hf);
            if (hf == nullptr) return;
            Experts& experts = config.experts;
            config.qkv_bias = config.output_bias = hf->value("attention_bias", false);
            // transformers 5 writes it under Mixtral's name
            experts.count = hf->value("num_experts", hf->value("num_local_experts", experts.count));
            experts.chosen = hf->value("num_experts_per_tok", experts.chosen);
            experts.intermediate = hf->value("moe_intermediate_size", experts.intermediate);
            experts.weights_sum_to_one = hf->value("norm_topk_prob", false);
            const auto step = hf->value("decoder_sparse_step", int64_t{1});
            const auto dense = hf->value("mlp_only_layers", std::vector<int64_t>{});
            if (step < 1) fail(ErrorKind::kBadFile, "config.json: decoder_sparse_step is {}", step);
            for (int64_t b = 0; b < config.blocks; ++b) {
              const bool excepted = std::find(dense.begin(), dense.end(), b) != dense.end();
              experts.of_block.push_back(!excepted && (b + 1) % step == 0);
            }
          },
      .describe =
          [](const Config& config, nlohmann::json& hf) {
            hf["attention_bias"] = config.qkv_bias;
            hf["num_experts"] = config.experts.count;
            hf["num_experts_per_tok"] = config.experts.chosen;
            hf["moe_intermediate_size"] = config.experts.intermediate;
            hf["norm_topk_prob"] = config.experts.weights_sum_to_one;
          }};
  return architecture;
}

}  // namespace freelunch::model
