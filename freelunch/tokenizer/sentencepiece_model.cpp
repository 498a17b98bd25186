#include "freelunch/tokenizer/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <unordered_set>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/byte_alphabet.h"
#include "freelunch/tokenizer/charsmap.h"
#include "freelunch/tokenizer/post_processor.h"
#include "freelunch/tokenizer/protobuf_reader.h"

namespace freelunch::tokenizer {
namespace {

using Model = SentencePieceModel;

// Field numbers of sentencepiece_model.proto.
enum ModelField { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3, kSelfTest = 4, kDenormalizerSpec = 5 };
enum PieceField { kText = 1, kScore = 2, kType = 3 };
enum TrainerField { kModelType = 3, kWhitespaceAsSuffix = 24, kBosId = 41, kEosId = 42 };
enum NormalizerField { kCharsmap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4 };

Model::Piece parse_piece(std::string_view bytes, std::string_view file) {
  Model::Piece piece;
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number == kText) piece.text = field.bytes;
    if (field.number == kScore) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == kType) {
      if (field.value < 1 || field.value > 6)
        fail(ErrorKind::kBadFile, "{}: piece '{}' has type {}, expected 1 to 6", file, piece.text,
             field.value);
      piece.type = static_cast<Model::Type>(field.value);
    }
  }
  return piece;
}

void parse_trainer_spec(std::string_view bytes, Model& model, std::string_view file) {
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number == kModelType) {
      if (field.value < 1 || field.value > 4)
        fail(ErrorKind::kBadFile, "{}: model type {}, expected 1 to 4", file, field.value);
      model.algorithm = static_cast<Model::Algorithm>(field.value);
    }
    if (field.number == kWhitespaceAsSuffix) model.whitespace_as_suffix = field.value != 0;
    if (field.number == kBosId) model.bos = static_cast<int32_t>(field.value);
    if (field.number == kEosId) model.eos = static_cast<int32_t>(field.value);
  }
}

std::string parse_charsmap(std::string_view bytes, std::string_view file) {
  std::string charsmap;
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number == kCharsmap) charsmap = field.bytes;
  }
  if (!charsmap.empty() && !is_sound_charsmap(charsmap))
    fail(ErrorKind::kBadFile, "{}: precompiled_charsmap is damaged", file);
  return charsmap;
}

void parse_normalizer_spec(std::string_view bytes, Model& model, std::string_view file) {
  model.charsmap = parse_charsmap(bytes, file);
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number == kAddDummyPrefix) model.add_dummy_prefix = field.value != 0;
    if (field.number == kRemoveExtraWhitespaces) model.remove_extra_whitespaces = field.value != 0;
  }
}

void check(const Model& model, std::string_view file) {
  if (model.pieces.empty()) {
    fail(ErrorKind::kBadFile, "{}: holds no pieces, which a SentencePiece model has", file);
  }
  if (model.pieces.size() > kMaxTokenId)
    fail(ErrorKind::kBadFile, "{}: {} pieces, the limit is {}", file, model.pieces.size(), kMaxTokenId);
  std::unordered_set<std::string_view> seen;
  int unknown = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Model::Piece& piece = model.pieces[id];
    if (piece.text.empty() || piece.text.find('\0') != std::string::npos || !is_valid_utf8(piece.text))
      fail(ErrorKind::kBadFile, "{}: piece {} is empty or not text", file, id);
    if (!seen.insert(piece.text).second)
      fail(ErrorKind::kBadFile, "{}: piece '{}' occurs twice", file, piece.text);
    if (!std::isfinite(piece.score))
      fail(ErrorKind::kBadFile, "{}: piece '{}' has no finite score", file, piece.text);
    if (piece.type == Model::Type::kByte && !byte_of_token(piece.text))
      fail(ErrorKind::kBadFile, "{}: byte piece '{}' names no byte", file, piece.text);
    if (piece.type == Model::Type::kUnknown) ++unknown;
  }
  if (unknown != 1) fail(ErrorKind::kBadFile, "{}: {} unknown pieces, expected 1", file, unknown);
  for (const auto& [name, id] : {std::pair("bos", model.bos), std::pair("eos", model.eos)}) {
    if (id < -1 || id >= static_cast<int64_t>(model.pieces.size()))
      fail(ErrorKind::kBadFile, "{}: {}_id is {}, but there are {} pieces", file, name, id,
           model.pieces.size());
  }
}

}  // namespace

SentencePieceModel SentencePieceModel::parse(std::string_view bytes, std::string_view file) {
  SentencePieceModel model;
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number == kPieces) model.pieces.push_back(parse_piece(field.bytes, file));
    if (field.number == kTrainerSpec) parse_trainer_spec(field.bytes, model, file);
    if (field.number == kNormalizerSpec) parse_normalizer_spec(field.bytes, model, file);
    if (field.number == kDenormalizerSpec) parse_charsmap(field.bytes, file);
  }
  check(model, file);
  return model;
}

std::string SentencePieceModel::with_dummy_prefix(std::string_view bytes, bool add_dummy_prefix,
                                                  std::string_view file) {
  std::string out;
  ProtobufReader reader(bytes, file);
  for (ProtobufReader::Field field; reader.next(field);) {
    if (field.number != kSelfTest) out += field.whole;
  }
  // A parser merges concatenated protocol buffers, so a normalizer_spec with one field overrides that field.
  constexpr char kMessage = (kNormalizerSpec << 3U) | 2U;
  constexpr char kFlag = kAddDummyPrefix << 3U;
  out += {kMessage, 2, kFlag, static_cast<char>(add_dummy_prefix)};
  return out;
}

}  // namespace freelunch::tokenizer
