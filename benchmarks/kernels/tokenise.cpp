// Text to token ids, by the tokenizer of a model that the user names.
#include <memory>

#include "freelunch/model_io/opened_model.h"
#include "freelunch/text/documents.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {

void register_tokenise(const TokeniserInput& input) {
  if (input.model.empty() || input.text.empty()) {
    add("tokenise/skipped", [](benchmark::State& state) { state.SkipWithError("needs --model and --text"); });
    return;
  }
  const auto opened = std::make_shared<pipeline::OpenedModel>(
      pipeline::open_model(input.model, pipeline::TokenizerUse::kRequired));
  const auto documents =
      std::make_shared<std::vector<std::string>>(text::read_documents(input.text, {}, silent_sinks().log));
  const auto encode_all = [opened, documents] {
    size_t tokens = 0;
    for (const std::string& document : *documents)
      tokens += opened->tokenizer->encode(document, /*add_special=*/false).size();
    return tokens;
  };
  add(fmt::format("tokenise/{}", input.text.filename().string()), [encode_all](benchmark::State& state) {
    set_amount(state, static_cast<double>(encode_all()) / 1e3, "thousand tokens");
    for (auto _ : state) benchmark::DoNotOptimize(encode_all());
  });
}

}  // namespace freelunch::benchmarks
