#pragma once
#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "freelunch/model/language_model.h"
#include "tiny_model_folder.h"

namespace freelunch {

/// A Llama of random weights in a folder of its own, open: 3 blocks of width 16, 4 heads of 4 (2 for keys and
/// values), an MLP of width 24, 40 tokens, embedding and head tied, fp32.
class TinyModel {
 public:
  static constexpr int64_t kBlocks = 3;

  TinyModel()
      : folder_(std::filesystem::temp_directory_path() /
                ("freelunch_tiny_model_" + std::to_string(getpid()))) {
    nlohmann::ordered_json config = tiny_config_json(40);
    config["num_hidden_layers"] = kBlocks;
    config["tie_word_embeddings"] = true;
    write_model(folder_, tensors(), config);
    model_ = model::LanguageModel::open(folder_);
  }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;
  ~TinyModel() { std::filesystem::remove_all(folder_); }

  const model::LanguageModel& operator*() const { return *model_; }
  /// For files of a test; removed with the model.
  const std::filesystem::path& folder() const { return folder_; }
  const model::LanguageModel* operator->() const { return model_.get(); }

 private:
  static Tensors tensors() {
    Tensors tensors{{"model.embed_tokens.weight", at::randn({40, 16})},
                    {"model.norm.weight", at::ones({16})}};
    for (int64_t b = 0; b < kBlocks; ++b) {
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
    return tensors;
  }

  std::filesystem::path folder_;
  std::unique_ptr<model::LanguageModel> model_;
};

}  // namespace freelunch
