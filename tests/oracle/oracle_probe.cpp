// What the oracles ask for, as raw little-endian numbers on standard output:
//   oracle_probe logits MODEL ID...            fp32 (tokens, vocabulary), fp32 compute
//   oracle_probe each < LINES                  the same for each line "MODEL ID...": "ok VALUES", a line
//   feed, fp32
//                                              values; or "refused KIND MESSAGE", KIND 3 (bad file) or 4
//                                              (unsupported)
//   oracle_probe tensor FILE NAME              fp32, dequantised
//   oracle_probe rewrite IN.safetensors OUT    the same tensors through our reader and writer
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/gguf/gguf.h"
#include "freelunch/checkpoint/safetensors/safetensors.h"
#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "freelunch/model/forward.h"
#include "freelunch/model/weight_view.h"

namespace {

using namespace freelunch;

template <typename T>
void emit(const T* data, size_t count) {
  std::cout.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(T)));
}

at::Tensor logits(const std::string& path, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto dense = model::LanguageModel::open(path);
  const model::WeightView weights(*dense);
  const backend::Compute compute;
  const at::Tensor tokens = at::tensor(ids).unsqueeze(0);
  const model::Forward forward(weights.config(), compute, tokens.size(1));
  at::Tensor x = weights.embed(tokens, compute.device);
  for (int64_t b = 0; b < weights.config().blocks; ++b)
    x = forward.forward_block(weights.block(b, compute.device, compute.dtype), x);
  const at::Tensor hidden = weights.final_norm(compute.device)(x);
  return weights.head(compute).logits(hidden).contiguous();
}

void emit(const at::Tensor& values) {
  emit(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
}

void each_logits() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string path;
    words >> path;
    const std::vector<int64_t> ids{std::istream_iterator<int64_t>(words), {}};
    try {
      const at::Tensor values = logits(path, ids);
      std::cout << "ok " << values.numel() << "\n";
      emit(values);
    } catch (const Error& error) {
      const int kind = error.kind() == ErrorKind::kBadFile       ? 3
                       : error.kind() == ErrorKind::kUnsupported ? 4
                                                                 : 1;
      std::cout << "refused " << kind << " " << error.what() << "\n";
    }
  }
}

void tensor(const std::string& path, const std::string& name) {
  std::unique_ptr<checkpoint::Checkpoint> file;
  if (path.ends_with(".gguf"))
    file = checkpoint::GgufCheckpoint::open(path);
  else
    file = checkpoint::SafetensorsCheckpoint::open(path);
  const checkpoint::TensorInfo& info = file->at(name);
  std::vector<float> values(static_cast<size_t>(info.elements()));
  file->read_f32(info, values);
  emit(values.data(), values.size());
}

void rewrite(const std::string& in, const std::string& out) {
  const auto file = checkpoint::SafetensorsCheckpoint::open(in);
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& info : file->tensors()) plan.push_back({info.name, info.dtype, info.shape});
  checkpoint::SafetensorsWriter writer(out, plan, file->metadata());
  for (const auto& info : file->tensors()) writer.write(info.name, file->bytes(info));
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> a(argv + 1, argv + argc);
  try {
    if (a.at(0) == "logits") {
      std::vector<int64_t> ids;
      for (size_t i = 2; i < a.size(); ++i) ids.push_back(std::stoll(a[i]));
      emit(logits(a.at(1), ids));
    } else if (a.at(0) == "each") {
      each_logits();
    } else if (a.at(0) == "tensor") {
      tensor(a.at(1), a.at(2));
    } else if (a.at(0) == "rewrite") {
      rewrite(a.at(1), a.at(2));
    } else {
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
