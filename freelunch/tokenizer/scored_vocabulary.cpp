#include "freelunch/tokenizer/scored_vocabulary.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/normalizer.h"
#include "freelunch/tokenizer/pre_tokenizer_family.h"
#include "freelunch/tokenizer/scored_merges.h"
#include "freelunch/tokenizer/sentencepiece_model.h"
#include "freelunch/tokenizer/token_type.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

constexpr const char* kSpaceMark = "\u2581";
// llama.cpp's converter gives these scores to added and unused tokens, which no merge may make
constexpr float kAddedScore = -1000.0F;
constexpr float kUnusedScore = -10000.0F;

bool is_replace(const json& step, const json& pattern, const char* content) {
  return step.value("type", "") == "Replace" && step.value("pattern", json()) == pattern &&
         step.value("content", "") == content;
}

bool is_strip(const json& step) {
  return step.value("type", "") == "Strip" && step.value("strip_left", true) &&
         step.value("strip_right", true);
}

/// Whether the pre-tokenizer only cuts at spaces. The normalizer has replaced them, so it cuts nothing.
bool cuts_at_spaces_only(const json& steps) {
  return steps.empty() || (steps.size() == 1 && steps[0].value("type", "") == "Split" &&
                           steps[0].value("pattern", json()) == json{{"String", " "}});
}

std::optional<SentencePieceSpaces> metaspace(const json& step) {
  if (step.value("type", "") != "Metaspace" || step.value("replacement", "") != kSpaceMark ||
      step.value("split", true))
    return std::nullopt;
  const bool prefix = step.contains("prepend_scheme") ? step.value("prepend_scheme", "always") != "never"
                                                      : step.value("add_prefix_space", true);
  return SentencePieceSpaces{.prefix = prefix};
}

using Pair = std::pair<std::string, std::string>;

struct Merges {
  std::vector<std::string> order;  // the merged tokens, by rank of the first merge that makes each
  std::map<std::string, std::set<Pair>> ways;
  bool together = true;  // the merges that make a token are consecutive

  void add(const Pair& merge) {
    const std::string made = merge.first + merge.second;
    if (order.empty() || order.back() != made) {
      together = together && !ways.contains(made);
      order.push_back(made);
    }
    ways[made].insert(merge);
  }
};

/// The merges of normal tokens only: other tokens are found in the text before merging.
Merges merges_of_normal_tokens(const GgufVocabulary& v, std::string_view file) {
  std::set<std::string> normal;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.token_types[id] == kNormal) normal.insert(v.tokens[id]);
  }
  Merges merges;
  for (const std::string& line : v.merges) {
    const size_t cut = line.find(' ');
    if (cut == std::string::npos) fail(ErrorKind::kBadFile, "{}: '{}' is no merge", file, line);
    const Pair merge{line.substr(0, cut), line.substr(cut + 1)};
    if (normal.contains(merge.first) && normal.contains(merge.second) &&
        normal.contains(merge.first + merge.second))
      merges.add(merge);
  }
  return merges;
}

}  // namespace

std::optional<SentencePieceSpaces> sentencepiece_spaces(const json& normalizer, const json& pre_tokenizer) {
  const json before = steps_of(normalizer);
  const json cuts = steps_of(pre_tokenizer);
  if (before.empty()) return cuts.size() == 1 ? metaspace(cuts[0]) : std::nullopt;
  SentencePieceSpaces spaces;
  size_t at = 0;
  if (before.size() > 1 && is_strip(before[0]) && is_replace(before[1], {{"Regex", " {2,}"}}, " ")) {
    spaces.remove_extra = true;
    at = 2;
  }
  if (at < before.size() && before[at].value("type", "") == "Prepend" &&
      before[at].value("prepend", "") == kSpaceMark) {
    spaces.prefix = true;
    ++at;
  }
  const bool marks = at + 1 == before.size() && is_replace(before[at], {{"String", " "}}, kSpaceMark);
  return marks && cuts_at_spaces_only(cuts) ? std::optional(spaces) : std::nullopt;
}

void set_scores_from_merges(GgufVocabulary& v, std::string_view file) {
  const Merges given = merges_of_normal_tokens(v, file);
  std::unordered_map<std::string, size_t> rank;
  for (size_t i = 0; i < given.order.size(); ++i) rank.emplace(given.order[i], i);
  v.scores.assign(v.tokens.size(), 0.0F);
  size_t unmerged = given.order.size();
  std::vector<ScoredToken> tokens;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int32_t type = v.token_types[id];
    if (type == kNormal) {
      const auto it = rank.find(v.tokens[id]);
      v.scores[id] = -static_cast<float>(it != rank.end() ? it->second : unmerged++);
      tokens.push_back({v.tokens[id], v.scores[id], !v.tokens[id].empty()});
    } else if (type == kUserDefined || type == kUnused) {
      v.scores[id] = type == kUserDefined ? kAddedScore : kUnusedScore;
    }
  }
  Merges implied;
  for (const Pair& merge : merges_from_scores(tokens)) implied.add(merge);
  if (!given.together || implied.ways != given.ways) {
    fail(ErrorKind::kUnsupported,
         "{}: GGUF holds scores of tokens instead of merges, and no scores give this list of merges", file);
  }
}

GgufVocabulary vocabulary_of_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                           int64_t size, std::string_view file) {
  using Algorithm = SentencePieceModel::Algorithm;
  const SentencePieceModel model = SentencePieceModel::parse(bytes, file);
  if (model.algorithm != Algorithm::kBpe && model.algorithm != Algorithm::kUnigram)
    fail(ErrorKind::kUnsupported, "{}: GGUF has no SentencePiece models of words or characters", file);
  if (!model.charsmap.empty() || model.whitespace_as_suffix) {
    fail(ErrorKind::kUnsupported,
         "{}: a SentencePiece model that normalises characters or puts spaces behind words has no GGUF form",
         file);
  }
  GgufVocabulary v = empty_vocabulary(size);
  v.scores.assign(v.tokens.size(), kUnusedScore);
  v.model = model.algorithm == Algorithm::kBpe ? "llama" : "t5";
  v.pre = "default";
  const auto put = [&](size_t id, const std::string& text, int32_t type, float score) {
    put_token(v, static_cast<int64_t>(id), text, type, file);
    v.scores[id] = score;
  };
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    put(id, piece.text, static_cast<int32_t>(piece.type), piece.score);
    if (piece.type == SentencePieceModel::Type::kUnknown) v.unk = static_cast<TokenId>(id);
  }
  for (const AddedToken& token : options.added) {
    if (static_cast<size_t>(token.id) < model.pieces.size() &&
        v.tokens[static_cast<size_t>(token.id)] == token.content &&
        v.token_types[static_cast<size_t>(token.id)] != kNormal)
      continue;  // the model has this token with its type
    const int32_t type = token.special ? kControl : kUserDefined;
    if (put_added_token(v, token.id, token.content, type, file))
      v.scores[static_cast<size_t>(token.id)] = kAddedScore;
  }
  v.add_space_prefix = options.add_prefix.value_or(model.add_dummy_prefix);
  v.remove_extra_whitespaces = model.remove_extra_whitespaces;
  return v;
}

}  // namespace freelunch::tokenizer
