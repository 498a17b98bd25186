#include <ATen/ATen.h>

#include "freelunch/structure/unit_criterion.h"

namespace freelunch::structure {

/// A uniform draw, as a control.
const UnitCriterion& random() {
  static const UnitCriterion criterion{.name = "random", .score = [](const UnitChoice& choice) {
                                         std::vector<double> scores;
                                         for (int64_t i = 0; i < choice.units(); ++i)
                                           scores.push_back(choice.random->uniform());
                                         return at::tensor(scores, at::kDouble).to(choice.W.device());
                                       }};
  return criterion;
}

}  // namespace freelunch::structure
