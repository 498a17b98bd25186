#include "freelunch/text/file_kind.h"

#include <array>

namespace freelunch::text {
namespace {

using std::literals::operator""sv;

struct Kind {
  std::string_view magic;
  std::string_view what;
};

constexpr std::array kKinds{
    Kind{"PAR1"sv,
         "a Parquet file, which is not read; export its text column, for example with pandas: "
         "pd.read_parquet(FILE)[['text']].to_json('text.jsonl', orient='records', lines=True)"sv},
    Kind{"ARROW1"sv,
         "an Arrow file, which is not read; export it, for example with datasets: "
         "Dataset.from_file(FILE).to_json('text.jsonl')"sv},
    Kind{"\xFF\xFF\xFF\xFF"sv,
         "an Arrow stream, as `datasets` keeps, which is not read; export it, for example with "
         "Dataset.from_file(FILE).to_json('text.jsonl')"sv},
    Kind{"PK\x03\x04"sv, "a zip archive; unpack it first"sv},
    Kind{"PK\x05\x06"sv, "an empty zip archive"sv},
    Kind{"7z\xBC\xAF\x27\x1C"sv, "a 7z archive; unpack it first"sv},
    Kind{"Rar!\x1A\x07"sv, "a RAR archive; unpack it first"sv},
    Kind{"\x04\x22\x4D\x18"sv, "an LZ4 file; unpack it first"sv},
    Kind{"\x1F\x9D"sv, "a compress (.Z) file; unpack it first"sv},
    Kind{"\x1F\x8B"sv, "compressed more than once, with gzip inside; unpack it first"sv},
    Kind{"\x28\xB5\x2F\xFD"sv, "compressed more than once, with zstd inside; unpack it first"sv},
    Kind{"\xFD\x37zXZ\0"sv, "compressed more than once, with xz inside; unpack it first"sv},
    Kind{"%PDF-"sv, "a PDF; extract its text first"sv},
    Kind{"GGUF"sv, "a GGUF model, not a text"sv},
    Kind{"SQLite format 3\0"sv, "an SQLite database; export its text as JSON lines"sv},
    Kind{"\x89HDF"sv, "an HDF5 file; export its text as JSON lines"sv},
    Kind{"\x80\x02"sv, "a Python pickle; export its text as JSON lines"sv},
    Kind{"\x80\x04\x95"sv, "a Python pickle; export its text as JSON lines"sv},
    Kind{"\x93NUMPY"sv, "a NumPy array, not a text"sv},
    Kind{"\xFF\xFE\0\0"sv, "UTF-32, which is not read; convert it to UTF-8"sv},
    Kind{"\0\0\xFE\xFF"sv, "UTF-32, which is not read; convert it to UTF-8"sv},
};

}  // namespace

std::string_view other_file_kind(std::string_view head) {
  for (const Kind& kind : kKinds) {
    if (head.starts_with(kind.magic)) return kind.what;
  }
  if (head.size() >= 262 && head.substr(257, 5) == "ustar") return "a tar archive; unpack it first";
  return {};
}

}  // namespace freelunch::text
