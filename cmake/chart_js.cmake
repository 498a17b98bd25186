# freelunch_find_chart_js(VARIABLE): the path of Chart.js 3, which is inlined into reports. Looks at the cache variable
# FREELUNCH_CHART_JS, then where Debian, npm and other systems install it, then takes it out of a Python wheel, which pip
# downloads once into the build folder.
function(freelunch_find_chart_js variable)
  find_file(FREELUNCH_CHART_JS NAMES chart.min.js Chart.min.js chart.js
    PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist /usr/share/javascript/chartjs
          /usr/lib/node_modules/chart.js/dist /usr/local/lib/node_modules/chart.js/dist ${PROJECT_SOURCE_DIR}/node_modules/chart.js/dist
    DOC "Chart.js 3, a file that defines window.Chart (Debian: libjs-chart.js)" NO_DEFAULT_PATH)
  set(file ${FREELUNCH_CHART_JS})
  if(NOT file)
    set(folder ${PROJECT_BINARY_DIR}/chart_js)
    set(file ${folder}/wagtailcharts/static/wagtailcharts/js/chart.js)  # version 3.7.1
    set(digest 82341894230cfc7217de538342fbf97abf83e26ea17dc49eb43aa51a3f051a3d)
    if(NOT EXISTS ${file})
      find_program(FREELUNCH_PIP_PYTHON NAMES python python3 HINTS ${PROJECT_SOURCE_DIR}/.venv/bin DOC "A Python with pip")
      message(STATUS "Chart.js is not installed; taking it from the wheel wagtailcharts 0.7")
      execute_process(COMMAND ${FREELUNCH_PIP_PYTHON} -m pip download -q --disable-pip-version-check --no-deps
                              --only-binary :all: --dest ${folder} wagtailcharts==0.7
                      RESULT_VARIABLE failed ERROR_VARIABLE output OUTPUT_VARIABLE output)
      file(GLOB wheel ${folder}/wagtailcharts-0.7-*.whl)
      if(wheel)
        file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder} PATTERNS */js/chart.js)
      endif()
    endif()
    set(found)
    if(EXISTS ${file})
      file(SHA256 ${file} found)
    endif()
    if(NOT found STREQUAL digest)
      message(FATAL_ERROR "Chart.js not found, and it could not be taken from the wheel wagtailcharts 0.7. Install it "
                          "(Debian: libjs-chart.js) or pass -DFREELUNCH_CHART_JS=/path/of/chart.min.js, version 3.\n${output}")
    endif()
  endif()
  set(${variable} ${file} PARENT_SCOPE)
endfunction()
