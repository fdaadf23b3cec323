# Options of the build, and the one interface target that carries its compile flags.
include(CheckLanguage)

option(ONEBEAT_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(ONEBEAT_APPS "Build the command line" ON)
option(ONEBEAT_PYTHON "Build the module of the Python package (pip install . sets it)" OFF)
set(cuda_default OFF)
if(ONEBEAT_PYTHON AND NOT DEFINED ONEBEAT_CUDA)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(cuda_default ON)
  endif()
endif()
option(ONEBEAT_CUDA "Build the CUDA twins" ${cuda_default})
option(ONEBEAT_FUZZ "Build the fuzz targets (clang only)" OFF)
option(ONEBEAT_WERROR "Treat warnings as errors" ON)
set(ONEBEAT_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address' (with undefined) or 'thread'")
set_property(CACHE ONEBEAT_SANITIZE PROPERTY STRINGS "" address thread)

find_program(ONEBEAT_CCACHE ccache)
if(ONEBEAT_CCACHE AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_C_COMPILER_LAUNCHER "${ONEBEAT_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${ONEBEAT_CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${ONEBEAT_CCACHE}")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

if(ONEBEAT_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90a)
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc takes C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  find_package(CUDAToolkit 12.8 REQUIRED)
endif()

add_library(onebeat_flags INTERFACE)
set(cxx_warnings -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual)
target_compile_options(onebeat_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:${cxx_warnings}>
  # At -O3 GCC 12 sees overlapping copies in concatenated strings where there are none (its bug 105651).
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<CONFIG:Release>>:-Wno-restrict>
  $<$<AND:$<BOOL:${ONEBEAT_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo -Xcompiler=-Wall,-Wextra>
  $<$<AND:$<BOOL:${ONEBEAT_WERROR}>,$<COMPILE_LANGUAGE:CUDA>>:--Werror=all-warnings>)
target_include_directories(onebeat_flags INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
if(ONEBEAT_SANITIZE STREQUAL "address")
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_compile_definitions(onebeat_flags INTERFACE _GLIBCXX_ASSERTIONS)
elseif(ONEBEAT_SANITIZE STREQUAL "thread")
  set(sanitize -fsanitize=thread -fno-omit-frame-pointer)
elseif(NOT ONEBEAT_SANITIZE STREQUAL "")
  message(FATAL_ERROR "ONEBEAT_SANITIZE is '${ONEBEAT_SANITIZE}'; it takes '', 'address' or 'thread'")
endif()
if(ONEBEAT_FUZZ)
  list(APPEND sanitize -fsanitize=fuzzer-no-link)
endif()
if(sanitize)
  target_compile_options(onebeat_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:${sanitize}>)
  target_link_options(onebeat_flags INTERFACE ${sanitize})
endif()
