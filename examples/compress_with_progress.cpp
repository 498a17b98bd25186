// Prunes half of a model's weights, repairs the rest in closed form and shows the progress.
//   compress_with_progress MODEL TEXT OUTPUT
#include <freelunch/freelunch.h>

#include <iostream>

struct Progress : freelunch::ProgressSink {
  void begin(std::string_view stage, int64_t total, std::string_view unit) override {
    std::cout << stage << ": " << total << " " << unit << "\n";
  }
  void advance(int64_t done, std::string_view note) override {
    std::cout << "  " << done << " " << note << "\n";
  }
  void end() override {}
};

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: compress_with_progress MODEL TEXT OUTPUT\n";
    return 2;
  }
  freelunch::CompressPlan plan;
  plan.model = argv[1];
  plan.calibration.text = plan.evaluation.text = argv[2];
  plan.calibration.samples = 8;
  plan.calibration.length = 64;
  plan.output = argv[3];
  plan.repair = freelunch::parse_repair("solve");
  try {
    Progress progress;
    const freelunch::Sinks sinks{.log = freelunch::silent_sinks().log, .progress = progress};
    const freelunch::RunReport report = freelunch::compress(plan, sinks);
    std::cout << "perplexity pruned: " << report.pruned->perplexity
              << ", repaired: " << report.repaired->perplexity << "\n";
  } catch (const freelunch::Error& error) {
    std::cerr << "compress_with_progress: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
