# cmake --install BUILD --prefix P: the command with its completions and manual page, the libraries, their headers and the
# CMake package `freelunch`, whose target freelunch::freelunch links every folder (freelunch::NAME links one).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
include(shell_files)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/freelunch)

if(TARGET freelunch_command)
  # The command finds the LibTorch that it was linked with. (INSTALL_RPATH_USE_LINK_PATH leaves out folders below the
  # source folder, such as .venv.)
  set_target_properties(freelunch_command PROPERTIES INSTALL_RPATH ${TORCH_INSTALL_PREFIX}/lib)
  install(TARGETS freelunch_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  freelunch_install_shell_files(${CMAKE_INSTALL_DATAROOTDIR})
endif()

get_property(folders GLOBAL PROPERTY FREELUNCH_FOLDERS)
set(libraries freelunch_all)
foreach(folder IN LISTS folders)
  list(APPEND libraries freelunch_${folder})
  install(DIRECTORY freelunch/${folder} DESTINATION include/freelunch FILES_MATCHING PATTERN "*.h")
endforeach()
install(FILES freelunch/freelunch.h freelunch/folders.json DESTINATION include/freelunch)
install(TARGETS ${libraries} EXPORT freelunchTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT freelunchTargets NAMESPACE freelunch:: DESTINATION ${package})

configure_package_config_file(cmake/freelunchConfig.cmake.in ${PROJECT_BINARY_DIR}/freelunchConfig.cmake INSTALL_DESTINATION ${package})
# 0.x: a new minor version may change the interface
write_basic_package_version_file(${PROJECT_BINARY_DIR}/freelunchConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/freelunchConfig.cmake ${PROJECT_BINARY_DIR}/freelunchConfigVersion.cmake DESTINATION ${package})
install(FILES cmake/dependencies.cmake DESTINATION ${package} RENAME freelunchDependencies.cmake)
