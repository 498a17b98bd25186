// Prunes a model by a criterion of its own: the most negative weights of each row go. No repair.
//   own_criterion MODEL OUTPUT
#include <freelunch/freelunch.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: own_criterion MODEL OUTPUT\n";
    return 2;
  }
  try {
    // W (out, in) fp32 -> scores (out, in); the smallest scores of each row are removed. With
    // .needs = StatsNeeded::kColumnNorms, `stats.column_norms` (in) would hold the norm of each input.
    static const freelunch::Criterion most_positive{
        .name = "most-positive",
        .group = freelunch::sparsity::Group::kRow,
        .score = [](const at::Tensor& W, const freelunch::CalibrationStats&) { return W; }};
    freelunch::add_criterion(most_positive);

    freelunch::CompressPlan plan;
    plan.model = argv[1];
    plan.output = argv[2];
    plan.overwrite = true;
    plan.criterion = "most-positive";
    plan.pattern = freelunch::sparsity::Unstructured{.zero_fraction = 0.3};
    plan.repair = freelunch::parse_repair("none");
    const freelunch::RunReport report = freelunch::compress(plan, freelunch::silent_sinks());
    std::cout << report.zeros << " of " << report.parameters << " weights are zero\n";
  } catch (const freelunch::Error& error) {
    std::cerr << "own_criterion: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
