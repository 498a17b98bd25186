# Compiler flags, faster tools where present, and the third-party packages.
find_program(FREELUNCH_CCACHE ccache)
if(FREELUNCH_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${FREELUNCH_CCACHE})
endif()
find_program(FREELUNCH_MOLD mold)
if(FREELUNCH_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Designated initialisers leave members at their defaults on purpose.
add_compile_options(-Wall -Wextra -Werror -Wno-missing-field-initializers)
# GCC 12 warns of overlaps in std::string::operator+ and of empty optionals that are not there (GCC bug 105329).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized)
endif()
if(FREELUNCH_SANITIZE)
  add_compile_options(-fsanitize=${FREELUNCH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${FREELUNCH_SANITIZE})
endif()
if(FREELUNCH_FUZZ)
  # Coverage for libFuzzer; the targets of tests/fuzz link its main().
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(NOT FREELUNCH_FUZZ)  # Debian's clang comes without OpenMP, and no parser needs the kernels
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc)
# The pkg-config file also names the training library, which nothing here uses.
find_library(FREELUNCH_SENTENCEPIECE sentencepiece REQUIRED DOC "SentencePiece (Debian: libsentencepiece-dev)")

# LibTorch's include folder carries an fmt of its own. The system's must be found first, and the compiler ignores
# requests to search /usr/include earlier, so it is reached through a link.
find_path(FREELUNCH_FMT_INCLUDE fmt/core.h PATHS /usr/include NO_DEFAULT_PATH)
if(FREELUNCH_FMT_INCLUDE)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include)
  file(CREATE_LINK ${FREELUNCH_FMT_INCLUDE}/fmt ${PROJECT_BINARY_DIR}/include/fmt SYMBOLIC)
  include_directories(BEFORE SYSTEM ${PROJECT_BINARY_DIR}/include)
endif()

if(FREELUNCH_TORCH)
  # LibTorch comes from the Python wheel of the project's virtual environment (scripts/setup makes it).
  if(NOT Torch_ROOT AND NOT Torch_DIR)
    file(GLOB _torch_dirs ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/share/cmake/Torch)
    if(NOT _torch_dirs)
      message(FATAL_ERROR "LibTorch not found: run scripts/setup, or pass -DTorch_DIR=.../torch/share/cmake/Torch")
    endif()
    list(GET _torch_dirs 0 Torch_DIR)
  endif()
  find_package(Torch REQUIRED)
  find_package(CLI11 REQUIRED)
endif()
