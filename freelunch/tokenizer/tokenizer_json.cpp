#include "tokenizer/tokenizer_json.h"

#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/json_nesting.h"
#include "base/utf8.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pre_tokenizer.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

constexpr TokenId kMaxId =
    1 << 21;  // eight times the largest vocabulary in use; keeps a hostile id from sizing the tables

/// What a tokenizer.json describes, checked.
struct Spec {
  std::unordered_map<std::string, TokenId> vocabulary;
  std::vector<std::string> texts;  // by id
  std::vector<Bpe::Merge> merges;
  bool ignore_merges = false;
  bool nfc = false;
  std::vector<AddedToken> added;
  std::vector<TokenId> prefix, suffix;  // of the template
};

TokenId checked_id(const json& value, std::string_view file, const std::string& token) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMaxId) {
    fail(ErrorKind::kBadFile, "{}: token '{}' has id {}, expected an integer in [0, {}]", file, token,
         value.dump(), kMaxId);
  }
  return value.get<TokenId>();
}

void put_text(Spec& spec, TokenId id, const std::string& text, std::string_view file) {
  const auto i = static_cast<size_t>(id);
  if (i >= spec.texts.size()) spec.texts.resize(i + 1);
  if (!spec.texts[i].empty() && spec.texts[i] != text) {
    fail(ErrorKind::kBadFile, "{}: id {} is given to both '{}' and '{}'", file, id, spec.texts[i], text);
  }
  spec.texts[i] = text;
}

void read_vocabulary(const json& model, Spec& spec, std::string_view file) {
  if (!model.at("vocab").is_object()) fail(ErrorKind::kBadFile, "{}: model.vocab is not an object", file);
  for (const auto& [text, id] : model["vocab"].items()) {
    const TokenId checked = checked_id(id, file, text);
    put_text(spec, checked, text, file);
    spec.vocabulary.emplace(text, checked);
  }
}

void read_merges(const json& model, Spec& spec, std::string_view file) {
  const auto id_of = [&](const std::string& text, const std::string& merge) {
    const auto it = spec.vocabulary.find(text);
    if (it == spec.vocabulary.end())
      fail(ErrorKind::kBadFile, "{}: merge '{}' names '{}', which is no token", file, merge, text);
    return it->second;
  };
  for (const json& entry : model.at("merges")) {
    std::string left;
    std::string right;
    if (entry.is_array() && entry.size() == 2) {
      left = entry[0].get<std::string>();
      right = entry[1].get<std::string>();
    } else {
      const std::string text = entry.get<std::string>();
      const size_t space = text.find(' ');
      if (space == std::string::npos)
        fail(ErrorKind::kBadFile, "{}: merge '{}' is not two tokens", file, text);
      left = text.substr(0, space);
      right = text.substr(space + 1);
    }
    const std::string merge = left + " " + right;
    spec.merges.push_back({id_of(left, merge), id_of(right, merge), id_of(left + right, merge)});
  }
}

void read_model(const json& model, Spec& spec, std::string_view file) {
  const std::string type = model.value("type", std::string("BPE"));
  if (type != "BPE")
    fail(ErrorKind::kUnsupported, "{}: model type '{}' is not supported; this version handles byte-level BPE",
         file, type);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.contains(key) && model[key].is_string() && !model[key].get<std::string>().empty()) {
      fail(ErrorKind::kUnsupported, "{}: model.{} '{}' is not supported", file, key,
           model[key].get<std::string>());
    }
  }
  if (model.value("byte_fallback", false))
    fail(ErrorKind::kUnsupported, "{}: byte_fallback is not supported", file);
  if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"].get<double>() > 0) {
    fail(ErrorKind::kUnsupported, "{}: BPE dropout is not supported", file);
  }
  spec.ignore_merges = model.value("ignore_merges", false);
  read_vocabulary(model, spec, file);
  read_merges(model, spec, file);
}

void read_normalizer(const json& entry, Spec& spec, std::string_view file) {
  if (entry.is_null()) return;
  const std::string type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("normalizers")) read_normalizer(part, spec, file);
  } else if (type == "NFC") {
    spec.nfc = true;
  } else {
    fail(ErrorKind::kUnsupported, "{}: normalizer '{}' is not supported", file, type);
  }
}

void read_added(const json& list, Spec& spec, std::string_view file) {
  for (const json& entry : list) {
    AddedToken token{.id = 0, .content = entry.at("content").get<std::string>()};
    token.id = checked_id(entry.at("id"), file, token.content);
    token.special = entry.value("special", false);
    token.left_strip = entry.value("lstrip", false);
    token.right_strip = entry.value("rstrip", false);
    token.single_word = entry.value("single_word", false);
    token.normalized = entry.value("normalized", !token.special);
    put_text(spec, token.id, token.content, file);
    spec.added.push_back(std::move(token));
  }
}

void read_template(const json& entry, Spec& spec, std::string_view file) {
  if (entry.is_null()) return;
  const std::string type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("processors")) read_template(part, spec, file);
    return;
  }
  if (type == "ByteLevel") return;  // moves offsets, not ids
  if (type != "TemplateProcessing")
    fail(ErrorKind::kUnsupported, "{}: post-processor '{}' is not supported", file, type);
  std::vector<TokenId>* side = &spec.prefix;
  for (const json& part : entry.at("single")) {
    if (part.contains("Sequence")) {
      side = &spec.suffix;
      continue;
    }
    const std::string name = part.at("SpecialToken").at("id").get<std::string>();
    for (const json& id : entry.at("special_tokens").at(name).at("ids"))
      side->push_back(checked_id(id, file, name));
  }
}

class ByteLevelTokenizer : public Tokenizer {
 public:
  ByteLevelTokenizer(Spec spec, PreTokenizer pre_tokenizer)
      : texts_(std::move(spec.texts)),
        bpe_(token_bytes(spec, texts_), spec.merges, spec.ignore_merges),
        pre_tokenizer_(std::move(pre_tokenizer)),
        nfc_(spec.nfc),
        prefix_(std::move(spec.prefix)),
        suffix_(std::move(spec.suffix)) {
    std::vector<AddedToken> raw;
    std::vector<AddedToken> normalized;
    for (AddedToken& token : spec.added) {
      is_added_.resize(std::max(is_added_.size(), static_cast<size_t>(token.id) + 1));
      is_added_[static_cast<size_t>(token.id)] = true;
      name_ends(token);
      (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    raw_ = AddedTokenFinder(std::move(raw));
    normalized_ = AddedTokenFinder(std::move(normalized));
    // A template names its own.
    if (!prefix_.empty()) bos_ = prefix_.front();
    if (!suffix_.empty()) eos_ = suffix_.back();
  }

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override {
    std::string repaired;
    if (!is_valid_utf8(text)) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    Encoding encoding{.out = {}, .cache = {}, .kept = {}};
    encoding.out.reserve(text.size() / 3 + 8);
    if (add_special) encoding.out = prefix_;
    split_off(raw_, text, encoding.out, [&](std::string_view piece) {
      if (!nfc_) {
        encode_normalized(piece, encoding);
      } else {
        encode_normalized(to_nfc(piece), encoding);
      }
    });
    if (add_special) encoding.out.insert(encoding.out.end(), suffix_.begin(), suffix_.end());
    return std::move(encoding.out);
  }

  std::string decode(std::span<const TokenId> ids) const override {
    std::string text;
    for (const TokenId id : ids) {
      const std::string& spelled = token_text(id);
      const bool added = static_cast<size_t>(id) < is_added_.size() && is_added_[static_cast<size_t>(id)];
      text += added ? spelled : bytes_of_token(spelled).value_or(spelled);
    }
    return text;
  }

  int64_t size() const override { return static_cast<int64_t>(texts_.size()); }
  std::optional<TokenId> bos() const override { return bos_; }
  std::optional<TokenId> eos() const override { return eos_; }
  bool adds_bos() const override { return !prefix_.empty(); }
  const std::string& token_text(TokenId id) const override {
    if (id < 0 || static_cast<size_t>(id) >= texts_.size()) {
      fail(ErrorKind::kInvalidArgument, "token id {} is not in a vocabulary of {}", id, texts_.size());
    }
    return texts_[static_cast<size_t>(id)];
  }

 private:
  /// A run of ids in Encoding::kept.
  struct Run {
    uint32_t begin, size;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  /// State of one call: words repeat, so their ids are kept.
  struct Encoding {
    std::vector<TokenId> out;
    std::unordered_map<std::string, Run, Hash, std::equal_to<>> cache;
    std::vector<TokenId> kept;
  };

  static std::vector<std::string> token_bytes(const Spec& spec, const std::vector<std::string>& texts) {
    std::vector<std::string> bytes(texts.size());
    for (const auto& [text, id] : spec.vocabulary)
      bytes[static_cast<size_t>(id)] = bytes_of_token(text).value_or("");
    return bytes;
  }

  /// Tokens whose names say what they are, where no template does.
  void name_ends(const AddedToken& token) {
    for (const char* name : {"<|begin_of_text|>", "<s>", "<|startoftext|>"}) {
      if (token.content == name) bos_ = token.id;
    }
    for (const char* name : {"<|end_of_text|>", "</s>", "<|endoftext|>"}) {
      if (token.content == name && !eos_) eos_ = token.id;
    }
  }

  template <typename Visit>
  static void split_off(const AddedTokenFinder& finder, std::string_view text, std::vector<TokenId>& out,
                        Visit visit) {
    size_t at = 0;
    AddedTokenFinder::Found found{};
    while (!finder.empty() && finder.find(text, at, found)) {
      if (found.begin > at) visit(text.substr(at, found.begin - at));
      out.push_back(found.token->id);
      at = found.end;
    }
    if (at < text.size()) visit(text.substr(at));
  }

  static std::string to_nfc(std::string_view text) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
    const bool ascii =
        std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii || U_FAILURE(status) != 0) return std::string(text);
    if (text.size() > INT32_MAX)
      fail(ErrorKind::kUnsupported, "a text of {} bytes without added tokens is too long to normalise",
           text.size());
    std::string out;
    icu::StringByteSink<std::string> sink(&out);
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                              nullptr, status);
    if (U_FAILURE(status) != 0)
      fail(ErrorKind::kInvalidArgument, "text of {} bytes cannot be normalised: {}", text.size(),
           u_errorName(status));
    return out;
  }

  void encode_normalized(std::string_view text, Encoding& encoding) const {
    split_off(normalized_, text, encoding.out, [&](std::string_view piece) {
      pre_tokenizer_.split(piece, [&](std::string_view word) { encode_word(word, encoding); });
    });
  }

  void encode_word(std::string_view word, Encoding& encoding) const {
    constexpr size_t kMaxWord = 64;
    constexpr size_t kMaxEntries = 1 << 18;
    const auto it = word.size() <= kMaxWord ? encoding.cache.find(word) : encoding.cache.end();
    if (it != encoding.cache.end()) {
      const auto begin = encoding.kept.begin() + it->second.begin;
      encoding.out.insert(encoding.out.end(), begin, begin + it->second.size);
      return;
    }
    const size_t before = encoding.out.size();
    bpe_.encode(word, encoding.out);
    if (word.size() > kMaxWord || encoding.cache.size() >= kMaxEntries) return;
    const auto begin = static_cast<uint32_t>(encoding.kept.size());
    encoding.kept.insert(encoding.kept.end(), encoding.out.begin() + static_cast<int64_t>(before),
                         encoding.out.end());
    encoding.cache.emplace(std::string(word),
                           Run{begin, static_cast<uint32_t>(encoding.out.size() - before)});
  }

  std::vector<std::string> texts_;
  Bpe bpe_;
  PreTokenizer pre_tokenizer_;
  bool nfc_;
  std::vector<TokenId> prefix_, suffix_;
  std::optional<TokenId> bos_, eos_;
  std::vector<bool> is_added_;
  AddedTokenFinder raw_{{}}, normalized_{{}};
};

}  // namespace

std::unique_ptr<Tokenizer> from_tokenizer_json(std::string_view text, std::string_view file) {
  refuse_deep_nesting(text, file);
  try {
    const json root = json::parse(text);
    Spec spec;
    const auto entry = [&](const char* key) { return root.contains(key) ? root[key] : json(); };
    if (!root.is_object() || !root.contains("model")) fail(ErrorKind::kBadFile, "{}: has no 'model'", file);
    read_model(root["model"], spec, file);
    if (root.contains("added_tokens")) read_added(root["added_tokens"], spec, file);
    read_normalizer(entry("normalizer"), spec, file);
    read_template(entry("post_processor"), spec, file);
    for (const auto* side : {&spec.prefix, &spec.suffix}) {
      for (const TokenId id : *side) {
        if (static_cast<size_t>(id) >= spec.texts.size())
          fail(ErrorKind::kBadFile, "{}: the template names id {}, which is no token", file, id);
      }
    }
    PreTokenizer pre_tokenizer = PreTokenizer::from_json(entry("pre_tokenizer"), file);
    return std::make_unique<ByteLevelTokenizer>(std::move(spec), std::move(pre_tokenizer));
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not a valid tokenizer.json ({})", file, error.what());
  }
}

}  // namespace freelunch::tokenizer
