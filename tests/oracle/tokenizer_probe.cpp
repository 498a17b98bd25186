// What the tokenizer oracles ask for. TOKENIZER is a tokenizer.json, a Hugging Face folder, or *.gguf.json:
// the tokenizer section of GGUF metadata as JSON. Texts come on standard input, separated by byte 1.
//
//   tokenizer_probe ids TOKENIZER        for each text a count and its ids, int32 little endian
//   tokenizer_probe round TOKENIZER      each text encoded without special tokens and decoded again
//   tokenizer_probe characters -         for each code point C: "b" if it is stripped, else capitalize(CACAC)
//   tokenizer_probe write X.gguf.json    the tokenizer.json that a converted folder gets
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "freelunch/base/utf8.h"
#include "freelunch/base/white_space.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/letter_case.h"
#include "freelunch/tokenizer/tokenizer_folder.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace {

using namespace freelunch::tokenizer;

template <typename T>
void emit(const T* data, size_t count) {
  std::cout.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(T)));
}

std::string read(std::istream& stream) { return {std::istreambuf_iterator<char>(stream), {}}; }

std::string read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return read(stream);
}

GgufVocabulary gguf_vocabulary(const std::string& path) {
  const auto json = nlohmann::json::parse(read(path));
  GgufVocabulary v{.model = json["model"],
                   .pre = json.value("pre", "default"),
                   .tokens = json["tokens"],
                   .merges = json.value("merges", std::vector<std::string>()),
                   .token_types = json["token_types"]};
  if (json.contains("scores")) v.scores = json["scores"].get<std::vector<float>>();
  if (json.contains("bos")) v.bos = json["bos"].get<int32_t>();
  if (json.contains("eos")) v.eos = json["eos"].get<int32_t>();
  if (json.contains("add_bos")) v.add_bos = json["add_bos"].get<bool>();
  if (json.contains("add_space_prefix")) v.add_space_prefix = json["add_space_prefix"].get<bool>();
  v.remove_extra_whitespaces = json.value("remove_extra_whitespaces", false);
  return v;
}

std::unique_ptr<Tokenizer> open(const std::string& path) {
  if (std::filesystem::is_directory(path)) return from_folder(path);
  if (path.ends_with(".gguf.json")) return from_gguf(gguf_vocabulary(path), path);
  return from_tokenizer_json(read(path), path);
}

void each_text(const std::string& path, bool back) {
  const auto tokenizer = open(path);
  const std::string input = read(std::cin);
  for (size_t begin = 0; begin < input.size();) {
    const size_t end = std::min(input.find('\x01', begin), input.size());
    const auto ids = tokenizer->encode(std::string_view(input).substr(begin, end - begin), !back);
    if (back) {
      std::cout << tokenizer->decode(ids) << '\x01';
    } else {
      const auto count = static_cast<int32_t>(ids.size());
      emit(&count, 1);
      emit(ids.data(), ids.size());
    }
    begin = end + 1;
  }
}

/// Separated by byte 255, which UTF-8 does not have. Surrogates give an empty text. "b" stands for white
/// space, which is stripped at both ends.
void each_character() {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    if (c < 0xD800 || c > 0xDFFF) freelunch::append_utf8(text, c);
    const bool stripped = freelunch::strip(text + "." + text) == "." && freelunch::strip_end(text).empty();
    std::cout << (stripped ? "b" : capitalize(text + "A" + text + "A" + text)) << '\xFF';
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> a(argv + 1, argv + argc);
  try {
    if (a.at(0) == "write") {
      std::cout << tokenizer_json_from_gguf(gguf_vocabulary(a.at(1))).dump();
    } else if (a.at(0) == "characters") {
      each_character();
    } else {
      each_text(a.at(1), a.at(0) == "round");
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
