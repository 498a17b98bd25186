// Opens a model (a Hugging Face folder or a .gguf file) and prints what it is and how sparse it is.
//   inspect_model MODEL
#include <freelunch/freelunch.h>

#include <iostream>
#include <nlohmann/json.hpp>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: inspect_model MODEL\n";
    return 2;
  }
  try {
    const freelunch::OpenedModel opened = freelunch::open_model(argv[1], freelunch::TokenizerUse::kRequired);
    std::cout << opened.model->config().architecture << ", " << opened.model->config().blocks << " blocks, "
              << opened.model->parameters() << " parameters, " << opened.tokenizer->size() << " tokens\n";

    // Reads every tensor once.
    const nlohmann::json about = freelunch::inspect(argv[1], freelunch::silent_sinks());
    std::cout << "zeros in the matrices: " << 100 * about["sparsity"]["matrices"].get<double>() << " %\n";
    for (const nlohmann::json& tensor : about["tensors"])
      std::cout << tensor["name"].get<std::string>() << " " << tensor["dtype"].get<std::string>() << " "
                << tensor["shape"].dump() << "\n";
  } catch (const freelunch::Error& error) {
    std::cerr << "inspect_model: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
