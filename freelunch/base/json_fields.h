#pragma once
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

/// JSON for structs, written and read from one list of their members:
///
///   template <>
///   struct JsonFields<Share> {
///     static constexpr auto list =
///         std::tuple{json_field("value", &Share::value), json_field("error", &Share::error)};
///   };
///
/// After that `json(share)` writes and `value.get<Share>()` reads, also inside vectors and maps. A list names
/// every member, in the order of the struct; a list that leaves one out does not compile. Reading throws
/// nlohmann::json::exception if the JSON is not an object, a key is missing or a value has another type.
///
/// A std::optional without a value has no key. JSON has no NaN and no infinity: nlohmann writes them as null,
/// and null is read as NaN.
namespace freelunch {

/// When a member has a key.
enum class JsonPresence {
  kAlways,
  kUnlessDefault  ///< left out if it is zero, false or empty; a missing key is read as that
};

template <class Record, class Member>
struct JsonField {
  using Type = Member;
  const char* key;
  Member Record::*member;
  JsonPresence presence;
};

/// A member that is a struct whose keys stand among those of its owner.
template <class Record, class Member>
struct JsonInline {
  using Type = Member;
  Member Record::*member;
};

template <class Record, class Member>
constexpr JsonField<Record, Member> json_field(const char* key, Member Record::*member,
                                               JsonPresence presence = JsonPresence::kAlways) {
  return {key, member, presence};
}

template <class Record, class Member>
constexpr JsonInline<Record, Member> json_inline(Member Record::*member) {
  return {member};
}

/// Specialise this for a struct to give it a list.
template <class Record>
struct JsonFields;

template <class Record>
concept HasJsonFields = requires {
  JsonFields<Record>::list;
};

namespace json_detail {

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// Stands for one member more, of any type. An optional is reached through the type that it holds: both ways
/// at once would be ambiguous.
struct OneMore {
  template <class T>
  requires(!is_optional<T>) operator T() const;  // NOLINT(google-explicit-constructor)
};

template <class Record, class... Members>
concept MadeOf = requires {
  Record{std::declval<Members>()...};
};

template <class Record, class... Fields>
constexpr bool names_all(const std::tuple<Fields...>& /*list*/) {
  return MadeOf<Record, typename Fields::Type...> && !MadeOf<Record, typename Fields::Type..., OneMore>;
}

template <class T>
bool is_default(const T& value) {
  if constexpr (requires { value.empty(); }) {
    return value.empty();
  } else {
    return value == T{};
  }
}

template <class T>
T read(const nlohmann::json& value) {
  if constexpr (std::is_floating_point_v<T>) {
    return value.is_null() ? static_cast<T>(std::nan("")) : value.get<T>();
  } else {
    return value.get<T>();
  }
}

template <class Record, class Member>
void write_field(nlohmann::json& object, const Record& record, const JsonField<Record, Member>& field) {
  const Member& value = record.*field.member;
  if constexpr (is_optional<Member>) {
    if (value) object[field.key] = *value;
  } else if (field.presence == JsonPresence::kAlways || !is_default(value)) {
    object[field.key] = value;
  }
}
template <class Record, class Member>
void write_field(nlohmann::json& object, const Record& record, const JsonInline<Record, Member>& field) {
  std::apply([&](const auto&... inner) { (write_field(object, record.*field.member, inner), ...); },
             JsonFields<Member>::list);
}

template <class Record, class Member>
void read_field(const nlohmann::json& object, Record& record, const JsonField<Record, Member>& field) {
  Member& value = record.*field.member;
  const bool may_be_absent = is_optional<Member> || field.presence == JsonPresence::kUnlessDefault;
  if (may_be_absent && !object.contains(field.key)) {
    value = Member{};
  } else if constexpr (is_optional<Member>) {
    value = read<typename Member::value_type>(object.at(field.key));
  } else {
    value = read<Member>(object.at(field.key));
  }
}
template <class Record, class Member>
void read_field(const nlohmann::json& object, Record& record, const JsonInline<Record, Member>& field) {
  std::apply([&](const auto&... inner) { (read_field(object, record.*field.member, inner), ...); },
             JsonFields<Member>::list);
}

}  // namespace json_detail

/// Whether the list of a struct names all its members, in their order.
template <HasJsonFields Record>
inline constexpr bool names_every_member = json_detail::names_all<Record>(JsonFields<Record>::list);

}  // namespace freelunch

template <class Record>
struct nlohmann::adl_serializer<Record, std::enable_if_t<freelunch::HasJsonFields<Record>>> {
  static_assert(freelunch::names_every_member<Record>, "JsonFields leaves out a member of the struct");

  static void to_json(json& object, const Record& record) {
    object = json::object();
    std::apply(
        [&](const auto&... field) { (freelunch::json_detail::write_field(object, record, field), ...); },
        freelunch::JsonFields<Record>::list);
  }
  static void from_json(const json& object, Record& record) {
    static_cast<void>(object.get_ref<const json::object_t&>());  // throws if it is no object
    std::apply(
        [&](const auto&... field) { (freelunch::json_detail::read_field(object, record, field), ...); },
        freelunch::JsonFields<Record>::list);
  }
};
