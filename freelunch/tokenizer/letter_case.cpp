#include "freelunch/tokenizer/letter_case.h"

#include <unicode/locid.h>
#include <unicode/stringoptions.h>
#include <unicode/unistr.h>

namespace freelunch::tokenizer {

std::string capitalize(const std::string& text) {
  // as capitalize() of Python: the string is one word, and its first character gets title case, letter or not
  icu::UnicodeString all = icu::UnicodeString::fromUTF8(text);
  all.toTitle(nullptr, icu::Locale::getRoot(), U_TITLECASE_WHOLE_STRING | U_TITLECASE_NO_BREAK_ADJUSTMENT);
  std::string result;
  all.toUTF8String(result);
  return result;
}

}  // namespace freelunch::tokenizer
