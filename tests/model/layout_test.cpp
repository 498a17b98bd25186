#include "freelunch/model/layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

const Architecture& architecture(std::string_view name) { return architecture_of_model_type(name, "test"); }

Config sized(const Architecture& architecture) {
  Config c = architecture.base;
  c.architecture = architecture.name;
  c.vocabulary = 16;
  c.width = c.embedding_width = 12;
  c.intermediate = 20;
  c.blocks = 2;
  c.heads = 3;
  c.kv_heads = architecture.keys.kv_heads.empty() ? 3 : 1;
  c.head_dim = 4;
  if (c.experts.count > 0) c.experts = {.count = 2, .chosen = 1, .intermediate = 6};
  return c;
}

class LayoutTest : public ::testing::TestWithParam<const Architecture*> {};

TEST_P(LayoutTest, PutsEveryPartBackWhereItWasFound) {
  const Config config = sized(*GetParam());
  for (const NameTable* names : {&GetParam()->hugging_face, &GetParam()->gguf.names}) {
    if (names->roles.empty()) continue;  // no such format
    std::set<std::string> seen;
    for (const StoredTensor& tensor : layout(config, *names)) {
      EXPECT_TRUE(seen.insert(tensor.name).second) << tensor.name;
      at::Tensor stored = at::randn(tensor.shape);
      at::Tensor again = at::full(tensor.shape, std::nan(""));
      int64_t elements = 0;
      for (const StoredPart& part : tensor.parts) {
        const at::Tensor value = extract(stored, part.slice, part.shape);
        EXPECT_EQ(value.sizes().vec(), shape_of(config, part.block, part.role));
        EXPECT_EQ(part.slice.is_whole(tensor.shape, part.shape), at::equal(value, stored)) << part.name;
        elements += value.numel();
        insert(value, part.slice, again);
      }
      EXPECT_EQ(elements, stored.numel()) << tensor.name;
      // A value shifted by one on its way (Gemma's norms) comes back to the rounding of one.
      EXPECT_TRUE(at::allclose(stored, again, 1e-6, 1e-6)) << tensor.name;
    }
  }
}

TEST_P(LayoutTest, NamesNoPartTwiceAndHoldsAllThatTheConfigurationNeeds) {
  const Config config = sized(*GetParam());
  std::set<std::string> names;
  size_t parts = 0;
  for (const StoredTensor& tensor : layout(config, GetParam()->hugging_face)) {
    for (const StoredPart& part : tensor.parts) {
      EXPECT_TRUE(names.insert(part.name).second) << part.name;
      EXPECT_EQ(part.name, role_name(GetParam()->hugging_face, part.role, part.block));
      ++parts;
    }
  }
  EXPECT_EQ(parts,
            outer_roles(config).size() + block_roles(config, 0).size() + block_roles(config, 1).size());
}

INSTANTIATE_TEST_SUITE_P(All, LayoutTest, ::testing::ValuesIn(all_architectures()),
                         [](const auto& info) { return std::string(info.param->name); });

at::Tensor part_of(const Architecture& architecture, const std::string& name, const at::Tensor& values) {
  for (const StoredTensor& tensor : layout(sized(architecture), architecture.hugging_face)) {
    for (const StoredPart& part : tensor.parts) {
      if (part.name == name) return extract(values.view(tensor.shape), part.slice, part.shape);
    }
  }
  return {};
}

TEST(Layout, Gpt2TransposesAndCutsColumns) {
  const at::Tensor stored = at::arange(12 * 36).view({12, 36});  // (in, q k v)
  const at::Tensor k = part_of(architecture("gpt2"), "transformer.h.1.attn.k.weight", stored);
  EXPECT_TRUE(at::equal(k, stored.narrow(1, 12, 12).t()));
}

TEST(Layout, NeoxCutsHeadByHead) {
  const at::Tensor stored = at::arange(36 * 12).view({36, 12});  // q k v of head 0, of head 1, ...
  const at::Tensor k = part_of(architecture("gpt_neox"), "gpt_neox.layers.0.attention.key.weight", stored);
  for (int64_t head = 0; head < 3; ++head)
    EXPECT_TRUE(at::equal(k.narrow(0, 4 * head, 4), stored.narrow(0, 12 * head + 4, 4)));
}

TEST(Layout, RotaryPairsAreNeighboursInGguf) {
  const Config config = sized(architecture("llama"));
  for (const StoredTensor& tensor : layout(config, architecture("llama").gguf.names)) {
    if (tensor.name != "blk.0.attn_q.weight") continue;
    const at::Tensor rows = at::arange(12).view({12, 1}).expand({12, 12}).contiguous();
    const at::Tensor q = extract(rows, tensor.parts[0].slice, tensor.shape);
    EXPECT_TRUE(at::equal(q.select(1, 0).narrow(0, 0, 4), at::tensor({0, 2, 1, 3})));
    return;
  }
  FAIL() << "no blk.0.attn_q.weight";
}

TEST(Block, GroupsMatricesByTheInputTheyShare) {
  Block block;
  for (const WeightRole::Kind kind : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue,
                                      WeightRole::kOutput, WeightRole::kUp, WeightRole::kDown})
    block.set(kind, at::ones({2, 2}));
  using Groups = std::vector<std::vector<WeightRole>>;
  EXPECT_EQ(matrix_groups(block, Sublayer::kAttention),
            (Groups{{WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue}, {WeightRole::kOutput}}));
  EXPECT_EQ(matrix_groups(block, Sublayer::kMlp), (Groups{{WeightRole::kUp}, {WeightRole::kDown}}));
  block.set(WeightRole::kRouter, at::ones({2, 2}));
  for (int32_t e = 0; e < 2; ++e) {
    for (const WeightRole::Kind kind : {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown})
      block.set({kind, e}, at::ones({2, 2}));
  }
  EXPECT_EQ(matrix_groups(block, Sublayer::kMlp), (Groups{{{WeightRole::kGate, 0}, {WeightRole::kUp, 0}},
                                                          {{WeightRole::kGate, 1}, {WeightRole::kUp, 1}},
                                                          {{WeightRole::kDown, 0}},
                                                          {{WeightRole::kDown, 1}}}));
}

TEST(Block, ReadingARoleThatItLacksAddsNothing) {
  Block block;
  block.set(WeightRole::kQuery, at::ones({2, 2}));
  EXPECT_FALSE(block[WeightRole::kQueryBias].defined());
  EXPECT_THROW(block.at(WeightRole::kQueryBias), Error);
  EXPECT_THROW(block.set(WeightRole::kQueryBias, {}), Error);
  EXPECT_EQ(block.tensors().size(), 1);
  block.at(WeightRole::kQuery) = at::zeros({2, 2});
  EXPECT_EQ(block[WeightRole::kQuery].sum().item<float>(), 0.0F);
}

}  // namespace
}  // namespace freelunch::model
