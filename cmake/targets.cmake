# freelunch_library(NAME [TORCH] SOURCES ... [DEPENDS ...] [PUBLIC ...] [PRIVATE ...])
# One static library a folder. DEPENDS lists the folders it may include; the linker then holds the arrows of
# folders.json. TORCH folders share one precompiled ATen header.
function(freelunch_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS;PUBLIC;PRIVATE" ${ARGN})
  set(target freelunch_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  foreach(folder IN LISTS ARG_DEPENDS)
    target_link_libraries(${target} PUBLIC freelunch_${folder})
  endforeach()
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  if(ARG_TORCH)
    freelunch_use_torch(${target})
  endif()
endfunction()

# Links LibTorch and reuses the precompiled header of freelunch_tensor_pch.
function(freelunch_use_torch target)
  target_link_libraries(${target} PUBLIC freelunch_tensor PRIVATE fmt::fmt nlohmann_json::nlohmann_json)
  target_precompile_headers(${target} REUSE_FROM freelunch_tensor_pch)
endfunction()
