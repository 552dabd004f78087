# The CUDA backend: a module beside the program (rylagraph_cuda.so), loaded when a GPU is asked for. The program itself links no
# NVIDIA library, so the same binary runs on machines without one and a CPU run does not wait for them to load.
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

if(NOT DEFINED RG_CUDA_ARCHITECTURES)
  if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
    set(RG_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 100-real 120)    # the last one with PTX, for what comes later
  else()
    set(RG_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a)
  endif()
endif()

find_path(CUDNN_INCLUDE_DIR cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS /usr/include/x86_64-linux-gnu)
find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} PATHS /usr/lib/x86_64-linux-gnu)
if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
  if(RG_CUDA STREQUAL "ON")
    message(FATAL_ERROR "RG_CUDA=ON, but cuDNN 9 was not found")
  endif()
  message(STATUS "CUDA: off (the toolkit is here, cuDNN 9 is not)")
  return()
endif()

file(GLOB RG_CUDA_SOURCES CONFIGURE_DEPENDS engine/cuda/*.cu engine/cuda/*.c)
list(FILTER RG_CUDA_SOURCES EXCLUDE REGEX "/load\\.c$")
add_library(rylagraph_cuda MODULE ${RG_CUDA_SOURCES})
set_target_properties(rylagraph_cuda PROPERTIES
  PREFIX "" CUDA_ARCHITECTURES "${RG_CUDA_ARCHITECTURES}" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_include_directories(rylagraph_cuda PRIVATE ${CMAKE_SOURCE_DIR} ${CUDAToolkit_INCLUDE_DIRS} ${CUDNN_INCLUDE_DIR})
target_compile_definitions(rylagraph_cuda PRIVATE _GNU_SOURCE)
# kernels keep float32 as written too: a fused multiply-add only where a kernel asks for it by name
target_compile_options(rylagraph_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false -lineinfo -Xcompiler=-Wall>)
target_link_libraries(rylagraph_cuda PRIVATE CUDA::cudart CUDA::cublasLt ${CUDNN_LIBRARY} OpenMP::OpenMP_C)
install(TARGETS rylagraph_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/rylagraph)
message(STATUS "CUDA: ${CUDAToolkit_VERSION}, architectures ${RG_CUDA_ARCHITECTURES}")

# Whether cuDNN takes the graphs that attention.c and conv2d.c build, for cards that are not here: asked of the library itself.
add_executable(check_plans tests/cuda/check_plans.c engine/cuda/dnn.c)
target_include_directories(check_plans PRIVATE ${CMAKE_SOURCE_DIR} ${CUDAToolkit_INCLUDE_DIRS} ${CUDNN_INCLUDE_DIR})
target_link_libraries(check_plans PRIVATE rylagraph_core ${CUDNN_LIBRARY})
get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
find_library(CUDNN_GRAPH_LIBRARY NAMES cudnn_graph libcudnn_graph.so.9 HINTS ${cudnn_folder})
target_link_libraries(check_plans PRIVATE ${CUDNN_GRAPH_LIBRARY})
add_library(no_driver SHARED tests/cuda/no_driver.c)
set_target_properties(no_driver PROPERTIES OUTPUT_NAME cuda SOVERSION 1 LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/no_driver)
enable_testing()
file(GLOB RG_DEVICES ${CMAKE_SOURCE_DIR}/tests/cuda/devices/*.json)
foreach(device ${RG_DEVICES})
  get_filename_component(name ${device} NAME_WE)
  add_test(NAME cuda/plans_${name} COMMAND check_plans ${device})
  set_tests_properties(cuda/plans_${name} PROPERTIES TIMEOUT 600 LABELS cuda ENVIRONMENT "LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}/no_driver:${cudnn_folder}")
endforeach()
