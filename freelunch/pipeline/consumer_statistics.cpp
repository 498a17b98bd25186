#include "freelunch/pipeline/consumer_statistics.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"

namespace freelunch::pipeline {

ConsumerStatistics::ConsumerStatistics(at::Tensor W, bool targets) : W_(std::move(W)), targets_(targets) {
  const at::ScalarType dtype = backend::of(W_).sum_dtype();
  const auto zeros = [&](std::vector<int64_t> shape) { return at::zeros(shape, W_.options().dtype(dtype)); };
  for (Side& side : sides_) {
    side.H.emplace(W_.size(1), W_.device(), dtype);
    side.sums = zeros({W_.size(1)});
    if (!targets) continue;
    side.B = zeros({W_.size(0), W_.size(1)});
    side.targets = zeros({W_.size(0)});
    side.squares = zeros({W_.size(0)});
  }
}

void ConsumerStatistics::add(const at::Tensor& X, const at::Tensor& Y, bool held_out) {
  if (X.numel() == 0) return;  // no token of these windows is routed to the expert
  Side& side = sides_.at(held_out ? 1 : 0);
  side.H->add(X);
  const at::Tensor x = X.reshape({-1, X.size(-1)}).to(at::kFloat);
  side.sums += x.sum(0, false, side.sums.scalar_type());
  side.tokens += x.size(0);
  if (!targets_) return;
  const at::Tensor y = Y.reshape({-1, Y.size(-1)});
  side.B += at::mm(y.t(), x);
  side.targets += y.sum(0, false, side.targets.scalar_type());
  side.squares += y.square().sum(0, false, side.squares.scalar_type());
}

at::Tensor ConsumerStatistics::gram(bool held_out) const {
  const Side& side = sides_.at(held_out ? 1 : 0);
  at::Tensor H = side.H->sum(side.sums.scalar_type());
  if (!std::isfinite(H.diagonal().sum().item<double>()))
    fail(ErrorKind::kNumerical, "the input of the matrix that reads the units, or its square, is not finite");
  return H;
}

structure::ConsumerMoments ConsumerStatistics::moments(bool held_out, double blend) const {
  const Side& side = sides_.at(held_out ? 1 : 0);
  if (targets_ && blend == 1)
    return {.H = gram(held_out),
            .sums = side.sums,
            .B = side.B,
            .targets = side.targets,
            .squares = side.squares,
            .tokens = side.tokens};
  structure::ConsumerMoments blended =
      structure::ConsumerMoments::local(W_, gram(held_out), side.sums, side.tokens);
  if (!targets_ || blend == 0) return blended;
  blended.B = blended.B * (1 - blend) + side.B * blend;
  blended.targets = blended.targets * (1 - blend) + side.targets * blend;
  // the square of the blend of two targets: the cross term is sum over tokens of (W x) y
  const at::Tensor cross = (side.B * W_.to(side.B.scalar_type())).sum(1);
  blended.squares = blended.squares * ((1 - blend) * (1 - blend)) + cross * (2 * blend * (1 - blend)) +
                    side.squares * (blend * blend);
  return blended;
}

}  // namespace freelunch::pipeline
