#include "freelunch/model_io/conversion.h"

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/output_folder.h"
#include "freelunch/model_io/export.h"
#include "freelunch/model_io/opened_model.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

/// Creates the folder that a .gguf file goes to. Refuses a file, or a split of it, that exists already.
void prepare_file(const fs::path& out, bool overwrite) {
  const fs::path folder = fs::absolute(out).parent_path();
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::kIo, "cannot create folder '{}': {}", folder.string(), error.message());
  if (fs::is_directory(out))
    fail(ErrorKind::kInvalidArgument, "output '{}' is a folder, expected a file", out.string());
  if (overwrite) return;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == out.filename() || name.starts_with(out.stem().string() + "-00001-of-"))
      fail(ErrorKind::kInvalidArgument, "output '{}' exists; set `overwrite` to replace it",
           entry.path().string());
  }
}

}  // namespace

void convert(const fs::path& in, const fs::path& out, const OutputOptions& options, bool overwrite,
             Sinks sinks) {
  validate(options);
  if (options.format == Format::kGguf) {
    prepare_file(out, overwrite);
    const OpenedModel opened = open_model(in, TokenizerUse::kNone, sinks.log);
    export_gguf(opened, model::WeightView(*opened.model), out, options, sinks);
    return;
  }
  checkpoint::OutputFolder output(out, overwrite);
  // The tokenizer's files are copied or written from the metadata; no text is encoded.
  const OpenedModel opened = open_model(in, TokenizerUse::kNone, sinks.log);
  export_folder(opened, model::WeightView(*opened.model), output.path(), options, sinks.progress);
  output.commit();
}

}  // namespace freelunch::pipeline
