#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "freelunch/tokenizer/regex.h"

namespace freelunch::tokenizer {

/// How a Split treats its matches: as pieces of their own, removed, or joined to a neighbour.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts every piece at the matches of a regular expression; with `invert` the text between matches counts as
/// match.
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

/// add_prefix_space of ByteLevel: puts a space in front of a piece that does not start with one.
struct PrefixSpaceStep {};

/// Metaspace: replaces spaces by a visible character and also puts it in front of every piece, of the first
/// one, or of none. With `split` every such character starts a piece.
struct MetaspaceStep {
  enum class Prepend { kNever, kFirst, kAlways };
  std::string replacement;  ///< one character, usually U+2581
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

/// Cuts a normalised text into pieces. The model never merges across their borders.
class PreTokenizer {
 public:
  /// Reads the "pre_tokenizer" of a tokenizer.json. Throws Unsupported or BadFile.
  static PreTokenizer from_json(const nlohmann::json& entry, std::string_view file);

  /// Whether the model sees bytes in the alphabet of GPT-2 (ByteLevel) instead of characters.
  bool byte_level() const { return byte_level_; }

  /// Calls visit(piece) for each piece in order. A piece is a view that is valid during the call only.
  /// starts_text: `text` is the beginning of the whole text.
  template <typename Visit>
  void split(std::string_view text, bool starts_text, Visit&& visit) const {
    run(0, text, starts_text, visit);
  }

 private:
  using Step = std::variant<SplitStep, PrefixSpaceStep, MetaspaceStep>;

  void add(const nlohmann::json& entry, std::string_view file);
  void add_split(const std::string& regex, SplitBehavior behavior, bool invert, std::string_view file);
  void add_metaspace(const nlohmann::json& entry, std::string_view file);
  static std::string replace_spaces(const MetaspaceStep& step, std::string_view text, bool starts_text);

  template <typename Visit>
  void run(size_t step, std::string_view text, bool starts_text, Visit& visit) const {
    if (text.empty()) return;
    if (step == steps_.size()) {
      visit(text);
    } else if (const auto* cut = std::get_if<SplitStep>(&steps_[step])) {
      cut_pieces(*cut, text, [&](std::string_view piece) {
        run(step + 1, piece, starts_text && piece.data() == text.data(), visit);
      });
    } else if (const auto* metaspace = std::get_if<MetaspaceStep>(&steps_[step])) {
      const std::string replaced = replace_spaces(*metaspace, text, starts_text);
      const std::string_view whole = replaced;
      size_t begin = 0;
      while (metaspace->split && begin < whole.size()) {  // a replacement starts a piece
        const size_t next = whole.find(metaspace->replacement, begin + 1);
        if (next == std::string_view::npos) break;
        run(step + 1, whole.substr(begin, next - begin), starts_text && begin == 0, visit);
        begin = next;
      }
      run(step + 1, whole.substr(begin), starts_text && begin == 0, visit);
    } else if (text.front() == ' ') {
      run(step + 1, text, starts_text, visit);
    } else {
      const std::string prefixed = " " + std::string(text);
      run(step + 1, prefixed, starts_text, visit);
    }
  }

  template <typename Visit>
  static void cut_pieces(const SplitStep& step, std::string_view text, Visit&& visit);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

template <typename Visit>
void PreTokenizer::cut_pieces(const SplitStep& step, std::string_view text, Visit&& visit) {
  // [open, close) is the current piece, which may still grow.
  size_t open = 0;
  size_t close = 0;
  bool was_match = false;
  const auto joins = [&](bool match) {
    if (open == close) return false;
    switch (step.behavior) {
      case SplitBehavior::kMergedWithPrevious:
        return match && !was_match;
      case SplitBehavior::kMergedWithNext:
        return was_match && !match;
      case SplitBehavior::kContiguous:
        return match == was_match;
      default:
        return false;
    }
  };
  const auto piece = [&](size_t begin, size_t end, bool match) {
    if (begin == end) return;
    if (!joins(match)) {
      if (open < close) visit(text.substr(open, close - open));
      open = begin;
    }
    close = step.behavior == SplitBehavior::kRemoved && match ? open : end;
    was_match = match;
  };
  size_t at = 0;
  Regex::Match found{};
  for (size_t from = 0; from <= text.size() && step.regex.find(text, from, found);) {
    if (found.end == found.begin) {  // an empty match cuts nothing
      from = found.end + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0U) == 0x80U) ++from;
      continue;
    }
    piece(at, found.begin, step.invert);
    piece(found.begin, found.end, !step.invert);
    at = from = found.end;
  }
  piece(at, text.size(), step.invert);
  if (open < close) visit(text.substr(open, close - open));
}

}  // namespace freelunch::tokenizer
