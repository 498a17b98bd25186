#include "freelunch/pipeline/count_zeros.h"

#include <ATen/ATen.h>

namespace freelunch::pipeline {
namespace {

at::ScalarType dtype_of(checkpoint::DType saved) {
  switch (saved) {
    case checkpoint::DType::kF32:
      return at::kFloat;
    case checkpoint::DType::kF16:
      return at::kHalf;
    default:
      return at::kBFloat16;
  }
}

}  // namespace

void count_zeros(RunContext& run) {
  RunReport& report = run.report;
  report.parameters = run.model().parameters();
  report.zeros = 0;
  for (TensorRecord& record : report.tensors) {
    const model::ModelTensor& tensor = run.model().at(record.name);
    const at::Tensor W = run.current().tensor(tensor);
    sparsity::check_respected(W, {run.scratch.get(model::mask_name(record.name))}, record.name);
    record.zeros = W.to(dtype_of(tensor.saved_dtype)).eq(0).sum().item<int64_t>();
    report.zeros += record.zeros;
    if (record.zeros != record.expected_zeros) {
      run.sinks.log.log(LogLevel::kWarning,
                        fmt::format("{} has {} zeros where {} were asked for: some retained weights are zero",
                                    record.name, record.zeros, record.expected_zeros));
    }
  }
}

}  // namespace freelunch::pipeline
