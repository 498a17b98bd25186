# freelunch_embed(TARGET NAME=FILE ...): adds to the target a generated source that holds each file's bytes, reachable as
# freelunch::embedded::NAME() (std::string_view, declared in embedded/NAME.h in the build folder). The assembler includes
# the bytes, so a large file costs no compile time.
function(freelunch_embed target)
  foreach(pair IN LISTS ARGN)
    string(REGEX MATCH "^([a-z_]+)=(.*)$" _ "${pair}")
    set(name ${CMAKE_MATCH_1})
    set(file ${CMAKE_MATCH_2})
    if(NOT EXISTS ${file})
      message(FATAL_ERROR "cannot embed ${name}: '${file}' does not exist")
    endif()
    set(folder ${PROJECT_BINARY_DIR}/embedded)
    file(CONFIGURE OUTPUT ${folder}/embedded/${name}.h CONTENT
"#pragma once
#include <string_view>
namespace freelunch::embedded {
std::string_view @name@();
}
" @ONLY)
    file(CONFIGURE OUTPUT ${folder}/${name}.cpp CONTENT
"#include \"embedded/@name@.h\"
asm(R\"(
  .section .rodata
freelunch_@name@_begin:
  .incbin \"@file@\"
freelunch_@name@_end:
  .byte 0
  .previous
)\");
extern \"C\" {
extern const char begin_@name@[] asm(\"freelunch_@name@_begin\");
extern const char end_@name@[] asm(\"freelunch_@name@_end\");
}
namespace freelunch::embedded {
std::string_view @name@() { return {begin_@name@, static_cast<std::size_t>(end_@name@ - begin_@name@)}; }
}
" @ONLY)
    set_source_files_properties(${folder}/${name}.cpp PROPERTIES OBJECT_DEPENDS ${file} SKIP_PRECOMPILE_HEADERS ON)
    target_sources(${target} PRIVATE ${folder}/${name}.cpp)
  endforeach()
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/embedded)
endfunction()
