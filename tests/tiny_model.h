#pragma once
#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "freelunch/model/language_model.h"

namespace freelunch {

/// A Llama of random weights in a folder of its own, open: 3 blocks of width 16, 4 heads of 4 (2 for keys and
/// values), an MLP of width 24, 40 tokens, embedding and head tied, fp32.
class TinyModel {
 public:
  TinyModel()
      : folder_(std::filesystem::temp_directory_path() /
                ("freelunch_tiny_model_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "config.json") << R"({
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 40, "hidden_size": 16,
      "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
      "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true
    })";
    write();
    model_ = model::LanguageModel::open(folder_);
  }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;
  ~TinyModel() { std::filesystem::remove_all(folder_); }

  const model::LanguageModel& operator*() const { return *model_; }
  const model::LanguageModel* operator->() const { return model_.get(); }

 private:
  void write() const {
    std::map<std::string, at::Tensor> tensors{{"model.embed_tokens.weight", at::randn({40, 16})},
                                              {"model.norm.weight", at::ones({16})}};
    for (int64_t b = 0; b < 3; ++b) {
      const std::string prefix = "model.layers." + std::to_string(b) + ".";
      for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"})
        tensors[prefix + norm] = at::ones({16});
      for (const char* matrix : {"self_attn.q_proj.weight", "self_attn.o_proj.weight"})
        tensors[prefix + matrix] = at::randn({16, 16}) * 0.3;
      for (const char* matrix : {"self_attn.k_proj.weight", "self_attn.v_proj.weight"})
        tensors[prefix + matrix] = at::randn({8, 16}) * 0.3;
      for (const char* matrix : {"mlp.gate_proj.weight", "mlp.up_proj.weight"})
        tensors[prefix + matrix] = at::randn({24, 16}) * 0.3;
      tensors[prefix + "mlp.down_proj.weight"] = at::randn({16, 24}) * 0.3;
    }
    std::vector<checkpoint::TensorPlan> plan;
    for (const auto& [name, tensor] : tensors)
      plan.push_back({name, checkpoint::DType::kF32, tensor.sizes().vec()});
    checkpoint::SafetensorsWriter writer(folder_ / "model.safetensors", plan, {});
    for (const auto& [name, tensor] : tensors) {
      const auto* bytes = static_cast<const std::byte*>(tensor.const_data_ptr());
      writer.write(name, {bytes, static_cast<size_t>(tensor.nbytes())});
    }
    writer.finish();
  }

  std::filesystem::path folder_;
  std::unique_ptr<model::LanguageModel> model_;
};

}  // namespace freelunch
