#include "freelunch/record/record_fields.h"

#include <gmock/gmock.h>

#include <set>
#include <typeinfo>

#include "freelunch/record/report_state.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

template <class Record, class Visit>
void each_member(const Visit& visit) {
  std::apply([&](const auto&... field) { (visit(field.member), ...); }, JsonFields<Record>::list);
}

/// Gives each member of a record another value, and none its default.
class Filler {
 public:
  template <class Record>
  Record filled() {
    Record record;
    each_member<Record>([&](auto member) { fill(record.*member); });
    return record;
  }

 private:
  template <class T>
  void fill(T& value) {
    if constexpr (HasJsonFields<T>) {
      value = filled<T>();
    } else {
      set(value);
    }
  }
  template <class T>
  void fill(std::optional<T>& value) {
    fill(value.emplace());
  }
  template <class T>
  void fill(std::vector<T>& value) {
    value.resize(3);
    for (T& element : value) fill(element);
  }
  void set(bool& value) { value = !value; }
  void set(int64_t& value) { value = ++count_; }
  void set(double& value) { value = 1.0 / static_cast<double>(++count_); }
  void set(std::string& value) { value = "text " + std::to_string(++count_); }
  void set(std::map<std::string, std::string>& value) {
    for (int i = 0; i < 2; ++i) set(value["file " + std::to_string(i)]);
  }

  int64_t count_ = 1;
};

template <class T>
bool equal(const T& a, const T& b) {
  if constexpr (HasJsonFields<T>) {
    bool all = true;
    each_member<T>([&](auto member) { all = all && equal(a.*member, b.*member); });
    return all;
  } else {
    return a == b;
  }
}

template <class Record>
class RecordFields : public ::testing::Test {};
using Records =
    ::testing::Types<PassCounts, StageRecord, reconstruct::RegionOutcome, RegionRecord, TensorRecord,
                     evaluate::Perplexity, InputDigests, reconstruct::DistilPosition>;

struct RecordName {
  template <class Record>
  static std::string GetName(int /*index*/) {
    return typeid(Record).name();
  }
};
TYPED_TEST_SUITE(RecordFields, Records, RecordName);

TYPED_TEST(RecordFields, EveryMemberComesBackFromText) {
  const auto record = Filler().filled<TypeParam>();
  each_member<TypeParam>([&](auto member) {
    EXPECT_FALSE(equal(record.*member, TypeParam().*member)) << "a member was not filled";
  });
  const std::string text = json(record).dump();
  const auto read = json::parse(text).template get<TypeParam>();
  each_member<TypeParam>([&](auto member) {
    EXPECT_TRUE(equal(record.*member, read.*member)) << "a member is lost in " << text;
  });
}

TYPED_TEST(RecordFields, EveryMemberComesBackWhereItHasItsDefault) {
  const auto read = json::parse(json(TypeParam()).dump()).template get<TypeParam>();
  EXPECT_TRUE(equal(read, TypeParam()));
}

/// A report that every stage of a run has added to, that of a mixture of experts included.
RunReport full_report() {
  Filler filler;
  RunReport report;
  for (int i = 0; i < 3; ++i) {
    report.stages.push_back(filler.filled<StageRecord>());
    report.regions.push_back(filler.filled<RegionRecord>());
    report.tensors.push_back(filler.filled<TensorRecord>());
  }
  report.tensors[1].tokens.reset();  // a matrix that is no expert's
  report.tensors[2].tokens = 0;      // an expert that no token was routed to
  report.allocation = {0.25, 0.75};
  report.dense = filler.filled<evaluate::Perplexity>();
  report.pruned = filler.filled<evaluate::Perplexity>();
  return report;
}

template <class Record>
bool all_equal(const std::vector<Record>& a, const std::vector<Record>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal<Record>);
}

void expect_same(const RunReport& a, const RunReport& b) {
  EXPECT_TRUE(all_equal(a.stages, b.stages));
  EXPECT_TRUE(all_equal(a.regions, b.regions));
  EXPECT_TRUE(all_equal(a.tensors, b.tensors));
  EXPECT_EQ(a.allocation, b.allocation);
  ASSERT_EQ(a.dense.has_value(), b.dense.has_value());
  ASSERT_EQ(a.pruned.has_value(), b.pruned.has_value());
  EXPECT_TRUE(!a.dense || equal(*a.dense, *b.dense));
  EXPECT_TRUE(!a.pruned || equal(*a.pruned, *b.pruned));
}

TEST(ReportState, WhatStagesAddedIsTheSameInAnotherProcess) {
  const RunReport report = full_report();
  RunReport other;
  append(other, json::parse(additions(report, {}).dump()));
  expect_same(other, report);
  EXPECT_EQ(other.tensors[0].tokens, report.tensors[0].tokens);
  EXPECT_EQ(other.tensors[1].tokens, std::nullopt);
  EXPECT_EQ(other.tensors[2].tokens, 0);
  EXPECT_EQ(other.peak_bytes, report.stages.back().peak_bytes);  // the filler counts upwards
  EXPECT_EQ(other.peak_device_bytes, report.stages.back().peak_device_bytes);
}

TEST(ReportState, AdditionsSinceAMarkAreAddedOnce) {
  const RunReport whole = full_report();
  RunReport report = whole;
  report.stages.resize(1);
  report.regions.resize(2);
  report.tensors.resize(1);
  report.pruned.reset();
  RunReport other;
  append(other, additions(report, {}));
  const ReportMark recorded = mark(report);
  append(other, additions(whole, recorded));
  expect_same(other, whole);
  EXPECT_EQ(additions(whole, mark(whole)), json::object());
}

TEST(ReportState, AReportStaysAsItIsWhereAdditionsCannotBeRead) {
  const RunReport report = full_report();
  for (const auto& [list, needed] :
       {std::pair{"stages", "seconds"}, std::pair{"regions", "after"}, std::pair{"tensors", "elements"}}) {
    json damaged = additions(report, {});
    damaged[list].back().erase(needed);
    RunReport other = report;
    EXPECT_THROW(append(other, damaged), json::exception) << list;
    expect_same(other, report);
  }
}

}  // namespace
}  // namespace freelunch::pipeline
