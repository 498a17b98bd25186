# freelunch_install_shell_files(SHARE [COMPONENT]): installs the completions of bash and zsh and the man page below the
# folder SHARE. The command prints them, at the time of installation: they come from its table of options.
function(freelunch_install_shell_files share)
  set(component)
  if(ARGC GREATER 1)
    set(component COMPONENT ${ARGV1})
  endif()
  set(folder ${PROJECT_BINARY_DIR}/shell)
  file(MAKE_DIRECTORY ${folder})
  foreach(file "freelunch=completions bash" "_freelunch=completions zsh" "freelunch.1=man")
    string(REGEX MATCH "^(.*)=(.*)$" _ ${file})
    install(CODE "execute_process(COMMAND \"$<TARGET_FILE:freelunch_command>\" ${CMAKE_MATCH_2}
                  OUTPUT_FILE \"${folder}/${CMAKE_MATCH_1}\" COMMAND_ERROR_IS_FATAL ANY)" ${component})
  endforeach()
  install(FILES ${folder}/freelunch DESTINATION ${share}/bash-completion/completions ${component})
  install(FILES ${folder}/_freelunch DESTINATION ${share}/zsh/site-functions ${component})
  install(FILES ${folder}/freelunch.1 DESTINATION ${share}/man/man1 ${component})
endfunction()
