# freelunch_small_icu_data(): a libicudata.so.NN, in the folder icu of the build, with the one table of ICU's data that the
# tokenizer reads, 55 kB of 31 MB. auditwheel finds it before the system's (scripts/wheel).
#
# Case, character classes, NFC and NFD are tables in libicuuc itself; of its data files the tokenizer needs nfkc.nrm alone,
# for NFKC and NFKD. libicuuc finds its data by the symbol icudtNN_dat, which is defined here. icupkg is of Debian's
# icu-devtools, which libicu-dev installs.
function(freelunch_small_icu_data)
  if(NOT TARGET freelunch_icu_data)
    find_library(FREELUNCH_ICU_DATA libicudata.a REQUIRED DOC "ICU's data as an archive (Debian: libicu-dev)")
    find_program(FREELUNCH_ICUPKG icupkg PATHS /usr/sbin REQUIRED DOC "Writes packages of ICU data (Debian: icu-devtools)")
    string(REGEX MATCH "^[0-9]+" version ${ICU_VERSION})
    set(folder ${PROJECT_BINARY_DIR}/icu)
    set(data icudt${version}l)
    set(package ${folder}/small/${data}.dat)
    file(WRITE ${folder}/tables.txt nfkc.nrm\n)
    file(MAKE_DIRECTORY ${folder}/small)
    add_custom_command(OUTPUT ${package} DEPENDS ${FREELUNCH_ICU_DATA} WORKING_DIRECTORY ${folder} VERBATIM
      COMMAND ${CMAKE_AR} x ${FREELUNCH_ICU_DATA} ${data}_dat.o
      COMMAND ${CMAKE_OBJCOPY} -O binary -j .rodata ${data}_dat.o ${data}.dat
      COMMAND ${FREELUNCH_ICUPKG} -x nfkc.nrm ${data}.dat
      COMMAND ${FREELUNCH_ICUPKG} -w -a tables.txt new ${package}
      COMMAND ${CMAKE_COMMAND} -E rm ${data}_dat.o ${data}.dat)
    file(CONFIGURE OUTPUT ${folder}/data.cpp CONTENT [[
asm(R"(
  .section .rodata
  .balign 16
  .globl icudt@version@_dat
  .type icudt@version@_dat, @object
icudt@version@_dat:
  .incbin "@package@"
  .size icudt@version@_dat, . - icudt@version@_dat
  .previous
)");
]] @ONLY)
    add_library(freelunch_icu_data SHARED ${folder}/data.cpp)
    set_target_properties(freelunch_icu_data PROPERTIES OUTPUT_NAME icudata SOVERSION ${version}
                                                        LIBRARY_OUTPUT_DIRECTORY ${folder})
    set_source_files_properties(${folder}/data.cpp PROPERTIES OBJECT_DEPENDS ${package})
  endif()
endfunction()
