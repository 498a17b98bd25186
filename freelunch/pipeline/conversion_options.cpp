#include "freelunch/pipeline/conversion_options.h"

#include "freelunch/model_io/conversion.h"
#include "freelunch/plan/options.h"

namespace freelunch::pipeline {

std::vector<Option<ConversionPlan>> conversion_options() {
  using R = Rows<ConversionPlan>;
  std::vector<Option<ConversionPlan>> rows{
      R::path("output", "File to write, with a name that ends in .gguf, or a folder", Use::kEveryRun,
              field(&ConversionPlan::output))
          .with(Effect::kNone),
      R::flag("overwrite", "Replace the output if it exists", Use::kEveryRun,
              field(&ConversionPlan::overwrite))
          .with(Effect::kNone),
      R::word("format", "Format of the output", Use::kEveryRun, kFormatNames, field(&ConversionPlan::format))
          .without_it("gguf if the output's name ends in .gguf, else hf")
          .with(Effect::kNone)};
  for (const auto& row : saving_options(&ConversionPlan::saved_as)) rows.push_back(row);
  return grouped<ConversionPlan>("Output", rows);
}

void convert(const ConversionPlan& plan, Sinks sinks) {
  OutputOptions saved_as = plan.saved_as;
  saved_as.format = format_of_output(plan.output, plan.format);
  convert(plan.model, plan.output, saved_as, plan.overwrite, sinks);
}

}  // namespace freelunch::pipeline
