#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "freelunch/checkpoint/safetensors/safetensors_writer.h"

namespace freelunch {

using Tensors = std::map<std::string, at::Tensor>;

/// The config.json of a small model of Llama's shape.
inline nlohmann::ordered_json tiny_config_json(int64_t vocabulary = 16) {
  return {{"model_type", "llama"},        {"hidden_size", 16},
          {"intermediate_size", 24},      {"num_hidden_layers", 2},
          {"num_attention_heads", 4},     {"num_key_value_heads", 2},
          {"vocab_size", vocabulary},     {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},         {"rope_theta", 10000.0},
          {"tie_word_embeddings", false}, {"torch_dtype", "float32"}};
}

/// Random fp32 tensors for it, under Hugging Face names.
inline Tensors tiny_tensors(int64_t vocabulary = 16) {
  Tensors t;
  const auto add = [&](const std::string& name, at::IntArrayRef shape) { t[name] = at::randn(shape) * 0.3; };
  add("model.embed_tokens.weight", {vocabulary, 16});
  add("lm_head.weight", {vocabulary, 16});
  t["model.norm.weight"] = at::rand({16}) + 0.5;
  for (const std::string block : {"model.layers.0.", "model.layers.1."}) {
    t[block + "input_layernorm.weight"] = at::rand({16}) + 0.5;
    t[block + "post_attention_layernorm.weight"] = at::rand({16}) + 0.5;
    add(block + "self_attn.q_proj.weight", {16, 16});
    add(block + "self_attn.k_proj.weight", {8, 16});
    add(block + "self_attn.v_proj.weight", {8, 16});
    add(block + "self_attn.o_proj.weight", {16, 16});
    add(block + "mlp.gate_proj.weight", {24, 16});
    add(block + "mlp.up_proj.weight", {24, 16});
    add(block + "mlp.down_proj.weight", {16, 24});
  }
  return t;
}

/// Writes a Hugging Face folder without a tokenizer.
inline void write_model(const std::filesystem::path& folder, const Tensors& tensors,
                        const nlohmann::ordered_json& config = tiny_config_json()) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump(2);
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& [name, tensor] : tensors)
    plan.push_back({name, checkpoint::DType::kF32, tensor.sizes().vec()});
  checkpoint::SafetensorsWriter writer(folder / "model.safetensors", plan, {{"format", "pt"}});
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor values = tensor.contiguous();
    writer.write(name, {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
  writer.finish();
}

}  // namespace freelunch
