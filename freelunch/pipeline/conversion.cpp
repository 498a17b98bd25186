#include "pipeline/conversion.h"

#include "checkpoint/atomic_file.h"
#include "pipeline/export.h"
#include "pipeline/opened_model.h"

namespace freelunch::pipeline {

void convert(const std::filesystem::path& in, const std::filesystem::path& out, bool overwrite, Sinks sinks) {
  checkpoint::OutputFolder output(out, overwrite);
  // The tokenizer's files are written from the metadata as they stand; nothing needs to be encoded.
  const OpenedModel opened = open_model(in, TokenizerUse::kNone);
  export_hugging_face(opened, model::Weights(*opened.model), output.path(), sinks.progress);
  output.commit();
}

}  // namespace freelunch::pipeline
