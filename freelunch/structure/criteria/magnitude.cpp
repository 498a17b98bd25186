#include <ATen/ATen.h>

#include "freelunch/structure/unit_criterion.h"

namespace freelunch::structure {

/// The norm of the consumer's columns, ||W_:j||_2, added up over the columns of a unit: magnitude-sp of the
/// FLAP repository (An et al. 2023, arXiv 2312.11983).
const UnitCriterion& magnitude() {
  static const UnitCriterion criterion{.name = "magnitude", .score = [](const UnitChoice& choice) {
                                         return choice.W.norm(2, 0).view({-1, choice.size}).sum(1);
                                       }};
  return criterion;
}

}  // namespace freelunch::structure
