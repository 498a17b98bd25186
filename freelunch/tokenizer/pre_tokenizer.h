#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/regex.h"

namespace freelunch::tokenizer {

/// What becomes of the pieces that a Split finds.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// One step: cuts every piece at matches of a regular expression, after putting a space in front where asked.
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

/// ByteLevel's add_prefix_space: a piece that does not start with a space gets one.
struct PrefixSpaceStep {};

/// Cuts a normalised text into the pieces that BPE never merges across.
class PreTokenizer {
 public:
  /// From the "pre_tokenizer" entry of a tokenizer.json. Throws Unsupported or BadFile.
  static PreTokenizer from_json(const nlohmann::json& entry, std::string_view file);

  /// Calls visit(piece) for each piece in order; pieces are views that live during the call only.
  template <typename Visit>
  void split(std::string_view text, Visit&& visit) const {
    run(0, text, visit);
  }

 private:
  using Step = std::variant<SplitStep, PrefixSpaceStep>;

  void add(const nlohmann::json& entry, std::string_view file);

  template <typename Visit>
  void run(size_t step, std::string_view text, Visit&& visit) const {
    if (text.empty()) return;
    if (step == steps_.size()) {
      visit(text);
    } else if (const auto* cut = std::get_if<SplitStep>(&steps_[step])) {
      cut_pieces(*cut, text, [&](std::string_view piece) { run(step + 1, piece, visit); });
    } else if (text.front() == ' ') {
      run(step + 1, text, visit);
    } else {
      const std::string prefixed = " " + std::string(text);
      run(step + 1, prefixed, visit);
    }
  }

  template <typename Visit>
  static void cut_pieces(const SplitStep& step, std::string_view text, Visit&& visit);

  std::vector<Step> steps_;
};

template <typename Visit>
void PreTokenizer::cut_pieces(const SplitStep& step, std::string_view text, Visit&& visit) {
  // `open` is the start of a piece that may still grow.
  size_t open = 0;
  bool open_is_match = false;
  const auto piece = [&](size_t begin, size_t end, bool match) {
    if (begin == end) return;
    switch (step.behavior) {
      case SplitBehavior::kIsolated:
        visit(text.substr(begin, end - begin));
        break;
      case SplitBehavior::kRemoved:
        if (!match) visit(text.substr(begin, end - begin));
        break;
      case SplitBehavior::kMergedWithPrevious:  // a match closes what is open
        if (match) {
          visit(text.substr(open, end - open));
          open = end;
        } else {
          open = begin;
        }
        break;
      case SplitBehavior::kMergedWithNext:  // a match opens a piece
        if (match && begin > open) visit(text.substr(open, begin - open));
        if (match) open = begin;
        break;
      case SplitBehavior::kContiguous:
        if (begin > open && match != open_is_match) {
          visit(text.substr(open, begin - open));
          open = begin;
        }
        open_is_match = match;
        break;
    }
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
  const bool merges = step.behavior == SplitBehavior::kMergedWithPrevious ||
                      step.behavior == SplitBehavior::kMergedWithNext ||
                      step.behavior == SplitBehavior::kContiguous;
  if (merges && open < text.size()) visit(text.substr(open));
}

}  // namespace freelunch::tokenizer
