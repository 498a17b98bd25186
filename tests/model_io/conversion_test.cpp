#include "freelunch/model_io/conversion.h"

#include <gtest/gtest.h>

#include "freelunch/base/error.h"
#include "freelunch/model/language_model.h"
#include "test_folder.h"
#include "tiny_model_folder.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

class ConversionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    constexpr int64_t kVocabulary = 500;  // so many that the data outweighs the files' headers
    tensors_ = tiny_tensors(kVocabulary);
    for (auto& [name, tensor] : tensors_) {
      if (tensor.dim() == 2)
        tensor.masked_fill_(at::rand(tensor.sizes()).lt(0.6), 0);  // sparse enough to be packed
    }
    write_model(in_, tensors_, tiny_config_json(kVocabulary));
  }
  void TearDown() override { fs::remove_all(test_folder()); }
  void expect_the_same_model(const fs::path& path) const {
    const auto model = model::LanguageModel::open(path);
    EXPECT_EQ(model->tensors().size(), tensors_.size());
    for (const auto& [name, tensor] : tensors_)
      EXPECT_TRUE(at::equal(model->read(model->at(name)), tensor)) << path << " " << name;
  }
  static void refuse_to_replace(const fs::path& in, const fs::path& out, const OutputOptions& options) {
    try {
      convert(in, out, options, /*overwrite=*/false, silent_sinks());
      FAIL() << "replaced " << out;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    }
  }

  Tensors tensors_;
  fs::path in_ = test_folder() / "in";
};

TEST_F(ConversionTest, EachFormatHoldsTheSameModelAndConvertsToEachOther) {
  const std::vector<std::pair<Format, std::string>> formats{
      {Format::kHuggingFace, "folder"}, {Format::kGguf, "file.gguf"}, {Format::kBitmask, "archive"}};
  for (const auto& [format, name] : formats) {
    const fs::path first = test_folder() / name;
    convert(in_, first, {.format = format}, false, silent_sinks());
    expect_the_same_model(first);
    for (const auto& [other, other_name] : formats) {
      const fs::path second = test_folder() / ("second-" + other_name);
      convert(first, second, {.format = other}, /*overwrite=*/true, silent_sinks());
      expect_the_same_model(second);
    }
  }
}

TEST_F(ConversionTest, AnArchiveOfASparseModelIsSmaller) {
  convert(in_, test_folder() / "archive", {.format = Format::kBitmask}, false, silent_sinks());
  EXPECT_LT(fs::file_size(test_folder() / "archive/model.safetensors"),
            fs::file_size(in_ / "model.safetensors"));
}

TEST_F(ConversionTest, ReplacesAnOutputOnlyWhenTold) {
  for (const auto& [format, name] :
       {std::pair(Format::kHuggingFace, "folder"), std::pair(Format::kGguf, "file.gguf")}) {
    const fs::path out = test_folder() / name;
    convert(in_, out, {.format = format}, false, silent_sinks());
    refuse_to_replace(in_, out, {.format = format});
    convert(in_, out, {.format = format}, /*overwrite=*/true, silent_sinks());
    expect_the_same_model(out);
  }
}

TEST_F(ConversionTest, ASplitGgufIsRefusedByTheNameOfItsFirstFile) {
  const OutputOptions split{.format = Format::kGguf, .shard_bytes = 4096};
  const fs::path out = test_folder() / "file.gguf";
  convert(in_, out, split, false, silent_sinks());
  EXPECT_FALSE(fs::exists(out));
  refuse_to_replace(in_, out, split);
}

}  // namespace
}  // namespace freelunch::pipeline
