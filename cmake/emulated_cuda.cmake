# engine/cuda on the CPU, for tests: the same sources against the headers of tests/cuda/emulator, as a module that tests load with
# RG_CUDA_MODULE. Kernel launches are rewritten by a Perl script (Perl is part of every Debian).
find_program(PERL perl REQUIRED)
set(emulator ${CMAKE_SOURCE_DIR}/tests/cuda/emulator)
set(translated ${CMAKE_BINARY_DIR}/emulated)
file(GLOB RG_KERNEL_SOURCES CONFIGURE_DEPENDS engine/cuda/*.cu engine/cuda/*.cuh)
file(GLOB RG_EMULATED_SOURCES CONFIGURE_DEPENDS engine/cuda/*.c tests/cuda/emulator/*.cc)
list(FILTER RG_EMULATED_SOURCES EXCLUDE REGEX "/load\\.c$")
foreach(source ${RG_KERNEL_SOURCES})
  get_filename_component(name ${source} NAME)
  string(REGEX REPLACE "\\.cu$" ".cc" name ${name})
  set(out ${translated}/engine/cuda/${name})
  add_custom_command(OUTPUT ${out} COMMAND ${PERL} ${emulator}/translate.pl < ${source} > ${out} DEPENDS ${source} ${emulator}/translate.pl)
  list(APPEND RG_EMULATED_SOURCES ${out})
endforeach()
file(MAKE_DIRECTORY ${translated}/engine/cuda)
add_library(rylagraph_cuda_emulated MODULE ${RG_EMULATED_SOURCES})
target_include_directories(rylagraph_cuda_emulated BEFORE PRIVATE ${translated} ${emulator} ${CMAKE_SOURCE_DIR})
target_compile_definitions(rylagraph_cuda_emulated PRIVATE _GNU_SOURCE)
target_compile_options(rylagraph_cuda_emulated PRIVATE -O2 $<$<COMPILE_LANGUAGE:CXX>:-Wno-unknown-pragmas> $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
target_link_libraries(rylagraph_cuda_emulated PRIVATE OpenMP::OpenMP_C)
set_target_properties(rylagraph_cuda_emulated PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

# rg_emulated_test(NAME EXECUTABLE ENVIRONMENT ARGUMENTS...): a test executable on the emulated device
function(rg_emulated_test name executable environment)
  add_test(NAME cuda/emulated_${name} COMMAND ${executable} --device cuda ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(cuda/emulated_${name} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS cuda
    ENVIRONMENT "${RG_TEST_ENVIRONMENT};RG_MODELS_DEMO=${CMAKE_SOURCE_DIR}/models/demo;RG_CUDA_MODULE=${CMAKE_BINARY_DIR}/rylagraph_cuda_emulated.so;${environment}")
endfunction()
