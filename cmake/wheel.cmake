# What `pip install` puts where (docs/decisions/0029-a-wheel-on-the-users-torch.md). scikit-build-core takes the component
# `wheel`; paths without a prefix are below site-packages. auditwheel adds what is still shared (scripts/wheel).
include(icu_data)
include(shell_files)
freelunch_small_icu_data()

# freelunch_into_wheel(TARGET FOLDER TORCH): the program or module is installed to FOLDER, from where TORCH is the way to
# torch's folder of libraries.
function(freelunch_into_wheel target folder torch)
  add_dependencies(${target} freelunch_icu_data)
  # Python and its other modules may have loaded other versions of these libraries, so ours are hidden.
  # (One option each: mold 1.10 eats all memory at a list of them.)
  foreach(library crypto lzma pcre2-8 z zstd)
    target_link_options(${target} PRIVATE LINKER:--exclude-libs,lib${library}.a)
  endforeach()
  target_link_options(${target} PRIVATE LINKER:-s)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/${torch}")
  install(TARGETS ${target} RUNTIME DESTINATION ${folder} COMPONENT wheel LIBRARY DESTINATION ${folder} COMPONENT wheel)
endfunction()

freelunch_into_wheel(freelunch_command freelunch/bin ../../torch/lib)
if(TARGET freelunch_python)
  freelunch_into_wheel(freelunch_python freelunch ../torch/lib)
endif()
# A script instead of an entry point, which would import the package, and with it torch, only to start the command.
# pip puts its Python into the first line.
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/wheel/freelunch CONTENT [[
#!python
import importlib.util
import runpy

package = importlib.util.find_spec("freelunch").submodule_search_locations[0]
runpy.run_path(f"{package}/_command.py")["main"]()
]] @ONLY)
install(PROGRAMS ${PROJECT_BINARY_DIR}/wheel/freelunch DESTINATION ${SKBUILD_SCRIPTS_DIR} COMPONENT wheel)
freelunch_install_shell_files(${SKBUILD_DATA_DIR}/share wheel)
