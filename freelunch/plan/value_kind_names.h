#pragma once
#include "freelunch/base/enum_names.h"
#include "freelunch/plan/option.h"

namespace freelunch::pipeline {

/// The kinds of option values, as the lists of options for other programs name them.
inline constexpr EnumNames<ValueKind, 11> kValueKindNames{{{ValueKind::kFlag, "flag"},
                                                           {ValueKind::kInteger, "integer"},
                                                           {ValueKind::kNumber, "number"},
                                                           {ValueKind::kNumbers, "numbers"},
                                                           {ValueKind::kFraction, "fraction"},
                                                           {ValueKind::kBytes, "bytes"},
                                                           {ValueKind::kWord, "word"},
                                                           {ValueKind::kText, "text"},
                                                           {ValueKind::kTexts, "texts"},
                                                           {ValueKind::kStages, "stages"},
                                                           {ValueKind::kPath, "path"}}};

}  // namespace freelunch::pipeline
