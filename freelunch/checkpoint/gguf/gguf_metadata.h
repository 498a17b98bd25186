#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace freelunch::checkpoint {

/// One metadata value of a GGUF file. Integers are widened to 64 bits, arrays of integers narrowed to int32
/// where every element fits; `type` keeps the name of the stored type for messages ("uint32", "array of
/// string").
struct GgufValue {
  using Data = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<std::string>,
                            std::vector<float>, std::vector<double>, std::vector<int32_t>,
                            std::vector<int64_t>, std::vector<uint64_t>, std::vector<bool>>;

  Data data;
  std::string type;

  static GgufValue uint16(uint16_t value) { return {uint64_t{value}, "uint16"}; }
  static GgufValue uint32(uint32_t value) { return {uint64_t{value}, "uint32"}; }
  static GgufValue int32(int32_t value) { return {int64_t{value}, "int32"}; }
  static GgufValue float32(float value) { return {static_cast<double>(value), "float32"}; }
  static GgufValue boolean(bool value) { return {value, "bool"}; }
  static GgufValue string(std::string value) { return {std::move(value), "string"}; }
  static GgufValue strings(std::vector<std::string> value) { return {std::move(value), "array of string"}; }
  static GgufValue floats(std::vector<float> value) { return {std::move(value), "array of float32"}; }
  static GgufValue int32s(std::vector<int32_t> value) { return {std::move(value), "array of int32"}; }
};

/// The key-value section of a GGUF file. If a key is absent, getters with one argument throw BadFile, those
/// with two return the second one. Both throw BadFile if the value has another type, naming file, key, found
/// and expected type.
class GgufMetadata {
 public:
  GgufMetadata() = default;
  explicit GgufMetadata(std::string file) : file_(std::move(file)) {}

  /// Throws BadFile if the key exists already.
  void add(std::string key, GgufValue value);
  /// Adds a key or replaces its value.
  void set(const std::string& key, GgufValue value);
  /// Removes a key, if it exists.
  void remove(std::string_view key);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// nullptr if absent.
  const GgufValue* find(std::string_view key) const;
  /// In file order.
  const std::vector<std::string>& keys() const { return keys_; }

  const std::string& get_string(std::string_view key) const;
  std::string get_string(std::string_view key, const std::string& absent) const;
  /// Any integer type, not negative.
  uint64_t get_uint(std::string_view key) const;
  uint64_t get_uint(std::string_view key, uint64_t absent) const;
  /// Any integer type, at most 2^63 - 1.
  int64_t get_int(std::string_view key) const;
  int64_t get_int(std::string_view key, int64_t absent) const;
  /// float32 or float64.
  double get_float(std::string_view key) const;
  double get_float(std::string_view key, double absent) const;
  bool get_bool(std::string_view key) const;
  bool get_bool(std::string_view key, bool absent) const;

  const std::vector<std::string>& get_strings(std::string_view key) const;
  std::vector<std::string> get_strings(std::string_view key, const std::vector<std::string>& absent) const;
  const std::vector<float>& get_floats(std::string_view key) const;
  std::vector<float> get_floats(std::string_view key, const std::vector<float>& absent) const;
  /// An array of any integer type whose elements all fit into int32.
  const std::vector<int32_t>& get_ints(std::string_view key) const;
  std::vector<int32_t> get_ints(std::string_view key, const std::vector<int32_t>& absent) const;
  const std::vector<bool>& get_bools(std::string_view key) const;
  std::vector<bool> get_bools(std::string_view key, const std::vector<bool>& absent) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  const GgufValue& require(std::string_view key) const;
  [[noreturn]] void refuse_type(std::string_view key, const GgufValue& value, std::string_view wanted) const;
  template <typename T>
  const T& get(std::string_view key, std::string_view wanted) const;

  std::string file_;
  std::vector<std::string> keys_;
  std::unordered_map<std::string, GgufValue, Hash, std::equal_to<>> values_;
};

}  // namespace freelunch::checkpoint
