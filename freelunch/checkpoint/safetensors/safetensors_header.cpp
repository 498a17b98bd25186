#include "freelunch/checkpoint/safetensors/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/files/mapped_file.h"

namespace freelunch::checkpoint {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // as the reference implementation

/// Parses JSON of any nesting and refuses keys that occur twice: plain parsing would silently keep the last
/// one.
json parse_strictly(std::string_view text, const std::string& file) {
  constexpr int kDeepest = 16;
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kDeepest)
      fail(ErrorKind::kBadFile, "safetensors: the header of {} is nested more than {} deep", file, kDeepest);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      fail(ErrorKind::kBadFile, "safetensors: {} names '{}' twice", file,
           printable(parsed.get<std::string>()));
    }
    return true;
  };
  try {
    return json::parse(text, callback);
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "safetensors: the header of {} is not valid JSON ({})", file,
         printable(error.what()));
  }
}

DType dtype_named(const std::string& text, const std::string& tensor, const std::string& file) {
  for (int i = 0; !is_quantised(static_cast<DType>(i)); ++i) {
    if (name(static_cast<DType>(i)) == text) return static_cast<DType>(i);
  }
  fail(ErrorKind::kUnsupported, "safetensors: tensor '{}' of {} has dtype {}, which is not supported", tensor,
       file, printable(text));
}

std::vector<uint64_t> unsigned_list(const json& entry, const char* key, const std::string& tensor,
                                    const std::string& file) {
  const auto it = entry.find(key);
  const bool is_list =
      it != entry.end() && it->is_array() &&
      std::all_of(it->begin(), it->end(), [](const json& v) { return v.is_number_unsigned(); });
  if (!is_list)
    fail(ErrorKind::kBadFile, "safetensors: tensor '{}' of {} has no valid '{}'", tensor, file, key);
  return it->get<std::vector<uint64_t>>();
}

SafetensorsHeader::Entry read_entry(const std::string& key, const json& entry, const std::string& file) {
  const std::string shown = printable(key);
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) {
    fail(ErrorKind::kBadFile, "safetensors: the entry of tensor '{}' in {} is malformed", shown, file);
  }
  TensorInfo info{.name = key,
                  .dtype = dtype_named(entry["dtype"].get<std::string>(), shown, file),
                  .shape = {},
                  .bytes = 0,
                  .file = file};
  for (const uint64_t size : unsigned_list(entry, "shape", shown, file)) {
    if (size > static_cast<uint64_t>(INT64_MAX))
      fail(ErrorKind::kBadFile, "safetensors: tensor '{}' of {} has a dimension of {}", shown, file, size);
    info.shape.push_back(static_cast<int64_t>(size));
  }
  const std::vector<uint64_t> offsets = unsigned_list(entry, "data_offsets", shown, file);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail(ErrorKind::kBadFile, "safetensors: the data offsets of tensor '{}' in {} run backwards", shown,
         file);
  }
  const auto elements = element_count(info.shape);
  const auto bytes = elements ? bytes_for(info.dtype, *elements) : std::nullopt;
  if (!bytes || *bytes != offsets[1] - offsets[0]) {
    fail(ErrorKind::kBadFile, "safetensors: tensor '{}' of {} has {} bytes, but shape {} of {} needs {}",
         shown, file, offsets[1] - offsets[0], shape_text(info.shape), name(info.dtype),
         bytes ? std::to_string(*bytes) : "more than exist");
  }
  info.bytes = *bytes;
  return {.info = std::move(info), .begin = offsets[0]};
}

/// The format has no gaps: each tensor begins where the one before it ends.
void place(SafetensorsHeader& header, uint64_t base, uint64_t size, const std::string& file) {
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.info.bytes) <
           std::pair(b.begin, b.info.bytes);  // an empty tensor comes first
  });
  uint64_t expected = 0;
  for (auto& entry : header.entries) {
    const std::string shown = printable(entry.info.name);
    if (entry.begin < expected)
      fail(ErrorKind::kBadFile, "safetensors: tensor '{}' of {} overlaps the one before it", shown, file);
    if (entry.begin > expected)
      fail(ErrorKind::kBadFile, "safetensors: {} has a hole before tensor '{}'", file, shown);
    if (entry.begin > size - base || entry.info.bytes > size - base - entry.begin) {
      fail(ErrorKind::kBadFile,
           "safetensors: tensor '{}' ends at byte {} but {} has {} bytes; incomplete download?", shown,
           base + entry.begin + entry.info.bytes, file, size);
    }
    expected = entry.begin + entry.info.bytes;
    entry.begin += base;
  }
  if (expected != size - base)
    fail(ErrorKind::kBadFile, "safetensors: {} has {} bytes after its last tensor", file,
         size - base - expected);
}

}  // namespace

SafetensorsHeader read_safetensors_header(std::span<const std::byte> content, const std::string& file) {
  if (looks_like_lfs_pointer(content)) {
    fail(ErrorKind::kBadFile,
         "safetensors: {} looks like a Git LFS pointer, not the file itself; run git lfs pull", file);
  }
  uint64_t length = 0;
  if (content.size() < sizeof length)
    fail(ErrorKind::kBadFile, "safetensors: {} has {} bytes, too few for a header; incomplete download?",
         file, content.size());
  std::memcpy(&length, content.data(), sizeof length);
  if (length > content.size() - sizeof length || length > kMaxHeader) {
    fail(ErrorKind::kBadFile,
         "safetensors: the header of {} claims {} bytes, but the file has {}; incomplete download, or "
         "another format?",
         file, length, content.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(content.data()) + sizeof length, length);
  const json object = parse_strictly(text, file);
  if (!object.is_object())
    fail(ErrorKind::kBadFile, "safetensors: the header of {} is not a JSON object", file);
  SafetensorsHeader header;
  for (const auto& [key, entry] : object.items()) {
    if (key != "__metadata__") {
      header.entries.push_back(read_entry(key, entry, file));
      continue;
    }
    if (entry.is_null())
      continue;  // written by some programs; the reference implementation treats it as no metadata
    if (!entry.is_object())
      fail(ErrorKind::kBadFile, "safetensors: '__metadata__' of {} is not an object", file);
    for (const auto& [name, value] : entry.items()) {
      if (!value.is_string())
        fail(ErrorKind::kBadFile, "safetensors: '__metadata__' of {} holds something other than strings",
             file);
      header.metadata[name] = value.get<std::string>();
    }
  }
  place(header, sizeof length + length, content.size(), file);
  return header;
}

std::map<std::string, std::string> read_safetensors_index(std::span<const std::byte> content,
                                                          const std::string& file) {
  const json object = parse_strictly({reinterpret_cast<const char*>(content.data()), content.size()}, file);
  if (!object.is_object() || !object.contains("weight_map") || !object["weight_map"].is_object()) {
    fail(ErrorKind::kBadFile, "safetensors: {} has no 'weight_map'", file);
  }
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : object["weight_map"].items()) {
    if (!shard.is_string())
      fail(ErrorKind::kBadFile, "safetensors: {} gives tensor '{}' no file name", file, printable(tensor));
    shards[tensor] = shard.get<std::string>();
  }
  if (shards.empty()) fail(ErrorKind::kBadFile, "safetensors: {} names no tensor", file);
  return shards;
}

}  // namespace freelunch::checkpoint
