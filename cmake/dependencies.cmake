# The third-party packages that the library links. The build includes this file, and so does the installed package
# (freelunchConfig.cmake), so that both see the same imported targets under the same names. Reads FREELUNCH_TORCH,
# FREELUNCH_STATIC, FREELUNCH_LINKS (a folder for symbolic links) and FREELUNCH_TORCH_HINT (where LibTorch's package is
# unless Torch_DIR or Torch_ROOT says so).
if(NOT PROJECT_IS_TOP_LEVEL)
  # A project that adds this one as a subdirectory links these targets from its own directories.
  set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
endif()
if(FREELUNCH_STATIC)  # an archive, where there is one, before a shared library
  set(_freelunch_suffixes ${CMAKE_FIND_LIBRARY_SUFFIXES})
  list(PREPEND CMAKE_FIND_LIBRARY_SUFFIXES .a)
endif()
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET GLOBAL libzstd)
# Its pkg-config file also names the training library, which nothing here uses.
find_library(FREELUNCH_SENTENCEPIECE sentencepiece REQUIRED DOC "SentencePiece (Debian: libsentencepiece-dev)")
if(NOT TARGET freelunch::sentencepiece)
  add_library(freelunch::sentencepiece UNKNOWN IMPORTED GLOBAL)
  set_target_properties(freelunch::sentencepiece PROPERTIES IMPORTED_LOCATION ${FREELUNCH_SENTENCEPIECE})
endif()
if(FREELUNCH_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES ${_freelunch_suffixes})
endif()
# Always shared: Debian's archives of these two are not position-independent, so no Python module can link them.
find_package(BZip2 REQUIRED)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET GLOBAL icu-uc)

# LibTorch's include folder carries an fmt of its own. The system's must be found first, and the compiler ignores
# requests to search /usr/include earlier, so it is reached through a link.
set(FREELUNCH_INCLUDE_FIRST)
find_path(FREELUNCH_FMT_INCLUDE fmt/core.h PATHS /usr/include NO_DEFAULT_PATH)
if(FREELUNCH_FMT_INCLUDE)
  set(FREELUNCH_INCLUDE_FIRST ${FREELUNCH_LINKS})
  file(MAKE_DIRECTORY ${FREELUNCH_INCLUDE_FIRST})
  file(CREATE_LINK ${FREELUNCH_FMT_INCLUDE}/fmt ${FREELUNCH_INCLUDE_FIRST}/fmt SYMBOLIC)
endif()

if(FREELUNCH_TORCH)
  if(NOT Torch_ROOT AND NOT Torch_DIR)
    file(GLOB _freelunch_torch_dirs ${FREELUNCH_TORCH_HINT})
    if(_freelunch_torch_dirs)
      list(GET _freelunch_torch_dirs 0 Torch_DIR)
    endif()
  endif()
  find_package(Torch QUIET)
  if(NOT Torch_FOUND)
    message(FATAL_ERROR "LibTorch not found: pass -DTorch_DIR=.../torch/share/cmake/Torch of a torch wheel or of LibTorch"
                        " (in a checkout of freelunch, scripts/setup installs it)")
  endif()
  if(NOT TARGET freelunch::tensor)
    add_library(freelunch::tensor INTERFACE IMPORTED GLOBAL)
    # libtorch.so although no symbol of it is used: in a CUDA build it loads the GPU libraries, in a CPU build it is empty,
    # and so a program linked with one runs with the other. libstdc++ first: libtorch.so of the CUDA wheels exports parts
    # of the standard library of its own, std::filesystem among them, which crashed.
    target_link_libraries(freelunch::tensor INTERFACE -Wl,--push-state,--no-as-needed -lstdc++ ${TORCH_LIBRARY} -Wl,--pop-state
                          ${TORCH_LIBRARIES})
    target_include_directories(freelunch::tensor SYSTEM INTERFACE ${FREELUNCH_INCLUDE_FIRST} ${TORCH_INCLUDE_DIRS})
  endif()
endif()
