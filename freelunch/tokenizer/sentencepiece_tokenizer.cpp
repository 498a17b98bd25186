#include "freelunch/tokenizer/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <unordered_set>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/decoder.h"
#include "freelunch/tokenizer/sentencepiece_model.h"

namespace freelunch::tokenizer {
namespace {

using Type = SentencePieceModel::Type;

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view bytes, const SentencePieceOptions& options, std::string_view file)
      : SentencePieceTokenizer(SentencePieceModel::parse(bytes, file), bytes, options, file) {}

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override {
    std::string repaired;
    if (!is_valid_utf8(text)) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    std::vector<TokenId> out;
    if (add_special && adds_bos_) out.push_back(*bos_);
    finder_.split(text, out, [&](std::string_view piece) {
      const bool wanted = prefix_ && (prefix_after_added_ || piece.data() == text.data());
      std::vector<int> ids;
      const auto status =
          wanted ? processor_.Encode(" " + std::string(piece), &ids) : processor_.Encode(piece, &ids);
      if (!status.ok())
        fail(ErrorKind::kBadFile, "{}: SentencePiece cannot encode a text of {} bytes with it: {}", file_,
             piece.size(), status.message());
      out.insert(out.end(), ids.begin(), ids.end());
    });
    if (add_special && adds_eos_) out.push_back(*eos_);
    return out;
  }

  std::string decode(std::span<const TokenId> ids) const override {
    std::string text;
    bool first = true;  // no token of the vocabulary has been decoded yet
    for (const TokenId id : ids) {
      const std::string& spelled = token_text(id);
      if (is_added_[static_cast<size_t>(id)]) {
        text += spelled;
      } else {
        decoder_.append(text, spelled, first);
        first = false;
      }
    }
    return text;
  }

  int64_t size() const override { return static_cast<int64_t>(texts_.size()); }
  std::optional<TokenId> bos() const override { return bos_; }
  std::optional<TokenId> eos() const override { return eos_; }
  bool adds_bos() const override { return adds_bos_; }
  const std::string& token_text(TokenId id) const override {
    if (id < 0 || static_cast<size_t>(id) >= texts_.size()) {
      fail(ErrorKind::kInvalidArgument, "token id {} is not in a vocabulary of {}", id, texts_.size());
    }
    return texts_[static_cast<size_t>(id)];
  }

 private:
  SentencePieceTokenizer(const SentencePieceModel& model, std::string_view bytes,
                         const SentencePieceOptions& options, std::string_view file)
      : file_(file), prefix_after_added_(options.prefix_after_added) {
    const bool prefix = options.add_prefix.value_or(model.add_dummy_prefix);
    // The library would put the prefix in front of every part between added tokens. So the prefix is added
    // here as a space in front of the text, unless the library removes extra spaces: it would remove this one
    // too.
    prefix_ = prefix && !model.remove_extra_whitespaces && !model.whitespace_as_suffix;
    load(bytes, prefix && !prefix_, file);
    decoder_ = Decoder::sentencepiece(prefix);
    if (model.bos >= 0) bos_ = static_cast<TokenId>(model.bos);
    if (model.eos >= 0) eos_ = static_cast<TokenId>(model.eos);
    adds_bos_ = options.add_bos.value_or(true) && bos_;
    adds_eos_ = options.add_eos && eos_;
    add_tokens(model, options.added, file);
  }

  void load(std::string_view bytes, bool add_dummy_prefix, std::string_view file) {
    try {
      const auto status = processor_.LoadFromSerializedProto(
          SentencePieceModel::with_dummy_prefix(bytes, add_dummy_prefix, file));
      if (!status.ok())
        fail(ErrorKind::kBadFile, "{}: SentencePiece cannot load it: {}", file, status.message());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      fail(ErrorKind::kBadFile, "{}: SentencePiece cannot load it: {}", file, error.what());
    }
  }

  void add_tokens(const SentencePieceModel& model, const std::vector<AddedToken>& more,
                  std::string_view file) {
    std::vector<AddedToken> added = more;
    std::unordered_set<TokenId> given;
    for (const AddedToken& token : more) given.insert(token.id);
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      texts_.push_back(model.pieces[id].text);
      const Type type = model.pieces[id].type;
      const bool special = type == Type::kControl || type == Type::kUnknown;
      if (special && !given.contains(static_cast<TokenId>(id)))
        added.push_back({.id = static_cast<TokenId>(id), .content = texts_.back(), .special = true});
    }
    is_added_.resize(texts_.size());
    for (const AddedToken& token : added) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= texts_.size()) texts_.resize(id + 1);
      if (!texts_[id].empty() && texts_[id] != token.content && id >= model.pieces.size())
        fail(ErrorKind::kBadFile, "{}: id {} is given to both '{}' and '{}'", file, id, texts_[id],
             token.content);
      texts_[id] = token.content;
      is_added_.resize(texts_.size());
      is_added_[id] = true;
    }
    finder_ = AddedTokenFinder(std::move(added));
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::string file_;     // for errors
  bool prefix_ = false;  // the prefix is added here, not by the library
  bool prefix_after_added_;
  bool adds_bos_ = false, adds_eos_ = false;
  std::optional<TokenId> bos_, eos_;
  std::vector<std::string> texts_;  // by id
  std::vector<bool> is_added_;
  AddedTokenFinder finder_{{}};
  Decoder decoder_;
};

}  // namespace

std::unique_ptr<Tokenizer> from_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                              std::string_view file) {
  return std::make_unique<SentencePieceTokenizer>(bytes, options, file);
}

}  // namespace freelunch::tokenizer
