#include "freelunch/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "freelunch/base/error.h"

namespace freelunch::tokenizer {
namespace {

/// White_Space of Unicode. \s of PCRE2 also has U+180E, which lost that property in Unicode 6.3.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// The word characters of Oniguruma, which the expressions of a tokenizer.json are written for: those of UTS
/// 18, Annex C, without joiners, plus the numbers (No) of Latin-1. \w of PCRE2 has no marks.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

/// Replaces \s, \S, \w and \W by explicit classes, inside and outside of brackets.
std::string spell_out_classes(const std::string& pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char c = pattern[++i];
      if (c == 's') {
        out += in_class ? std::string(kSpace) : "[" + std::string(kSpace) + "]";
      } else if (c == 'S' && !in_class) {
        out += "[^" + std::string(kSpace) + "]";
      } else if (c == 'w') {
        out += in_class ? std::string(kWord) : "[" + std::string(kWord) + "]";
      } else if (c == 'W' && !in_class) {
        out += "[^" + std::string(kWord) + "]";
      } else {
        out += '\\';
        out += c;
      }
      continue;
    }
    if (pattern[i] == '[' && !in_class) {
      in_class = true;
    } else if (pattern[i] == ']' && in_class) {
      in_class = false;
    }
    out += pattern[i];
  }
  return out;
}

/// Memory of PCRE2 for each thread: match data, and a stack for compiled code that long matches do not
/// overflow.
struct Scratch {
  Scratch() : match(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    stack = pcre2_jit_stack_create(1 << 16, 1 << 26, nullptr);
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_depth_limit(context, UINT32_MAX);
  }
  /// A hostile expression can backtrack without end; expressions in use take a few steps for each byte. A
  /// frame of the interpreter takes up to 200 bytes.
  void limit(size_t text_size) const {
    constexpr uint64_t kSteps = 10'000'000;
    pcre2_set_match_limit(context,
                          static_cast<uint32_t>(std::min<uint64_t>(kSteps + 100 * text_size, UINT32_MAX)));
    pcre2_set_heap_limit(context,
                         static_cast<uint32_t>(std::min<uint64_t>((1U << 16U) + text_size / 4, UINT32_MAX)));
  }
  ~Scratch() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* match;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

}  // namespace

struct Regex::State {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string pattern, file;  // for messages
  ~State() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern, std::string_view file) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  state_->file = file;
  const std::string spelled = spell_out_classes(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  state_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &error,
                               &offset, nullptr);
  if (state_->code == nullptr) {
    std::array<PCRE2_UCHAR, 128> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    fail(ErrorKind::kUnsupported, "{}: regular expression '{}' is not understood: {}", file, pattern,
         reinterpret_cast<const char*>(message.data()));
  }
  state_->jit = pcre2_jit_compile(state_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::find(std::string_view text, size_t from, Match& match) const {
  thread_local const Scratch scratch;
  scratch.limit(text.size());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int result = state_->jit ? pcre2_jit_match(state_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK,
                                             scratch.match, scratch.context)
                           : PCRE2_ERROR_JIT_STACKLIMIT;
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    // the interpreter stores its backtracking frames on the heap
    result = pcre2_match(state_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         scratch.match, scratch.context);
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    fail(ErrorKind::kUnsupported,
         "{}: regular expression '{}' takes too many steps on a text of {} bytes (PCRE2 error {})",
         state_->file, state_->pattern, text.size(), result);
  }
  const PCRE2_SIZE* vector = pcre2_get_ovector_pointer(scratch.match);
  match = {vector[0], vector[1]};
  return true;
}

}  // namespace freelunch::tokenizer
