#include "freelunch/model_io/folder_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>

#include "test_folder.h"
#include "tiny_model_folder.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using nlohmann::json;

class FolderFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_model(in_, tiny_tensors());
    fs::create_directories(out_);
  }
  void TearDown() override { fs::remove_all(test_folder()); }
  static void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }
  static std::string read(const fs::path& file) {
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  json config_written(const OutputOptions& options) {
    write_config(*model::LanguageModel::open(in_), options, out_);
    return json::parse(read(out_ / "config.json"));
  }

  fs::path in_ = test_folder() / "in";
  fs::path out_ = test_folder() / "out";
};

TEST_F(FolderFilesTest, CopiesAConfigThatNeedsNoChangeByteForByte) {
  const std::string odd = read(in_ / "config.json") + "\n \n";
  write(in_ / "config.json", odd);
  config_written({});
  EXPECT_EQ(read(out_ / "config.json"), odd);
}

TEST_F(FolderFilesTest, StatesTheDtypeUnderTheKeyThatTheConfigHas) {
  EXPECT_EQ(config_written({.dtype = DType::kBF16})["torch_dtype"], "bfloat16");
  auto config = tiny_config_json();
  config.erase("torch_dtype");
  config["dtype"] = "float32";  // as newer versions of transformers write it
  write(in_ / "config.json", config.dump());
  fs::remove(out_ / "config.json");
  const json written = config_written({.dtype = DType::kF16});
  EXPECT_EQ(written["dtype"], "float16");
  EXPECT_FALSE(written.contains("torch_dtype"));
}

TEST_F(FolderFilesTest, OnlyAnArchiveSaysThatItIsCompressed) {
  EXPECT_FALSE(config_written({}).contains("quantization_config"));
  const json archive = config_written({.format = Format::kBitmask});
  EXPECT_EQ(archive["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_EQ(archive["quantization_config"]["sparsity_config"]["format"], "sparse-bitmask");
  EXPECT_EQ(archive["hidden_size"], 16);
}

TEST_F(FolderFilesTest, CopiesAllButWeightsHiddenFilesAndWhatIsWrittenHere) {
  write(in_ / "tokenizer.json", "{}");
  write(in_ / "merges.txt", "a b\n");
  for (const char* name :
       {"pytorch_model.bin", "pytorch_model.bin.index.json", ".gitattributes", "freelunch.json"})
    write(in_ / name, "{}");
  write_other_files(*model::LanguageModel::open(in_), out_);
  EXPECT_EQ(read(out_ / "tokenizer.json"), "{}");
  EXPECT_EQ(read(out_ / "merges.txt"), "a b\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(out_), {}), 2);
}

}  // namespace
}  // namespace freelunch::pipeline
