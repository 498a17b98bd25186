// Reads a report's JSON on standard input and writes its page to standard output.
#include <iostream>
#include <nlohmann/json.hpp>

#include "freelunch/record/report_page.h"

int main() {
  std::cout << freelunch::pipeline::report_page(nlohmann::json::parse(std::cin));
  return 0;
}
