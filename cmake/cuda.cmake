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
target_link_libraries(rylagraph_cuda PRIVATE CUDA::cudart CUDA::cublasLt ${CUDNN_LIBRARY})
install(TARGETS rylagraph_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/rylagraph)
message(STATUS "CUDA: ${CUDAToolkit_VERSION}, architectures ${RG_CUDA_ARCHITECTURES}")
