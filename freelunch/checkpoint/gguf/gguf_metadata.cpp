#include "freelunch/checkpoint/gguf/gguf_metadata.h"

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {

void GgufMetadata::add(std::string key, GgufValue value) {
  if (has(key)) fail(ErrorKind::kBadFile, "gguf: {} has the metadata key '{}' twice", file_, printable(key));
  keys_.push_back(key);
  values_.emplace(std::move(key), std::move(value));
}

void GgufMetadata::set(const std::string& key, GgufValue value) {
  if (!has(key)) keys_.push_back(key);
  values_.insert_or_assign(key, std::move(value));
}

void GgufMetadata::remove(std::string_view key) {
  const auto it = values_.find(key);
  if (it == values_.end()) return;
  values_.erase(it);
  std::erase(keys_, key);
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

const GgufValue& GgufMetadata::require(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr)
    fail(ErrorKind::kBadFile, "gguf: {} lacks the metadata key '{}'", file_, printable(key));
  return *value;
}

void GgufMetadata::refuse_type(std::string_view key, const GgufValue& value, std::string_view wanted) const {
  fail(ErrorKind::kBadFile, "gguf: metadata key '{}' of {} is {}, expected {}", printable(key), file_,
       value.type, wanted);
}

template <typename T>
const T& GgufMetadata::get(std::string_view key, std::string_view wanted) const {
  const GgufValue& value = require(key);
  const T* data = std::get_if<T>(&value.data);
  if (data == nullptr) refuse_type(key, value, wanted);
  return *data;
}

const std::string& GgufMetadata::get_string(std::string_view key) const {
  return get<std::string>(key, "string");
}
std::string GgufMetadata::get_string(std::string_view key, const std::string& absent) const {
  return has(key) ? get_string(key) : absent;
}

uint64_t GgufMetadata::get_uint(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* u = std::get_if<uint64_t>(&value.data)) return *u;
  const auto* i = std::get_if<int64_t>(&value.data);
  if (i == nullptr || *i < 0) refuse_type(key, value, "an integer of at least 0");
  return static_cast<uint64_t>(*i);
}
uint64_t GgufMetadata::get_uint(std::string_view key, uint64_t absent) const {
  return has(key) ? get_uint(key) : absent;
}

int64_t GgufMetadata::get_int(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* i = std::get_if<int64_t>(&value.data)) return *i;
  const auto* u = std::get_if<uint64_t>(&value.data);
  if (u == nullptr || *u > static_cast<uint64_t>(INT64_MAX)) refuse_type(key, value, "an integer");
  return static_cast<int64_t>(*u);
}
int64_t GgufMetadata::get_int(std::string_view key, int64_t absent) const {
  return has(key) ? get_int(key) : absent;
}

double GgufMetadata::get_float(std::string_view key) const {
  return get<double>(key, "a floating-point number");
}
double GgufMetadata::get_float(std::string_view key, double absent) const {
  return has(key) ? get_float(key) : absent;
}
bool GgufMetadata::get_bool(std::string_view key) const { return get<bool>(key, "bool"); }
bool GgufMetadata::get_bool(std::string_view key, bool absent) const {
  return has(key) ? get_bool(key) : absent;
}

const std::vector<std::string>& GgufMetadata::get_strings(std::string_view key) const {
  return get<std::vector<std::string>>(key, "array of string");
}
std::vector<std::string> GgufMetadata::get_strings(std::string_view key,
                                                   const std::vector<std::string>& absent) const {
  return has(key) ? get_strings(key) : absent;
}
const std::vector<float>& GgufMetadata::get_floats(std::string_view key) const {
  return get<std::vector<float>>(key, "array of float32");
}
std::vector<float> GgufMetadata::get_floats(std::string_view key, const std::vector<float>& absent) const {
  return has(key) ? get_floats(key) : absent;
}
const std::vector<int32_t>& GgufMetadata::get_ints(std::string_view key) const {
  return get<std::vector<int32_t>>(key, "array of 32-bit integers");
}
std::vector<int32_t> GgufMetadata::get_ints(std::string_view key, const std::vector<int32_t>& absent) const {
  return has(key) ? get_ints(key) : absent;
}
const std::vector<bool>& GgufMetadata::get_bools(std::string_view key) const {
  return get<std::vector<bool>>(key, "array of bool");
}
std::vector<bool> GgufMetadata::get_bools(std::string_view key, const std::vector<bool>& absent) const {
  return has(key) ? get_bools(key) : absent;
}

}  // namespace freelunch::checkpoint
