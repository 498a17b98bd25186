# Compiler flags, and faster tools where they are installed. They hold for our own targets: nothing here reaches a target
# that only links the library.
if(PROJECT_IS_TOP_LEVEL)
  find_program(FREELUNCH_CCACHE ccache)
  if(FREELUNCH_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # Paths relative to the source folder, so that the build of the wheel and other checkouts reuse the objects of
    # build/release. The inode cache spares it to read the precompiled headers, 400 MB, once for each source.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                    CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_INODECACHE=1
                                    ${FREELUNCH_CCACHE})
  endif()
  find_program(FREELUNCH_MOLD mold)
  if(FREELUNCH_MOLD)
    add_link_options(-fuse-ld=mold)
  endif()
endif()

if(PROJECT_IS_TOP_LEVEL OR FREELUNCH_DEVELOPER)
  set(errors)
  if(FREELUNCH_DEVELOPER)
    set(errors -Werror)
  endif()
  # Designated initialisers leave members at their defaults on purpose.
  add_compile_options(-Wall -Wextra ${errors} -Wno-missing-field-initializers)
  # GCC 12 warns of overlaps in std::string::operator+ and of empty optionals where there are none (GCC bug 105329).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-restrict -Wno-maybe-uninitialized)
  endif()
endif()
if(FREELUNCH_SANITIZE)
  add_compile_options(-fsanitize=${FREELUNCH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${FREELUNCH_SANITIZE})
endif()
if(FREELUNCH_FUZZ)
  # Coverage for libFuzzer; the targets of tests/fuzz link its main().
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
