# Compiler and linker flags of every target: all warnings are errors, the build is hardened.

add_compile_definitions(_GNU_SOURCE ESTUARY_VERSION="${PROJECT_VERSION}")
add_compile_options(
  -Wall -Wextra -Werror -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wcast-qual -Wwrite-strings -Wpointer-arith -Wformat=2 -Wundef -Wvla -Wconversion
  -Wno-sign-conversion -fno-common -fstack-protector-strong)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wlogical-op -Wduplicated-cond -Wjump-misses-init)
endif()
add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(ESTUARY_SANITIZE)
  add_compile_options(-fsanitize=${ESTUARY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ESTUARY_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()

if(ESTUARY_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "ESTUARY_FUZZ needs Clang: cmake -DCMAKE_C_COMPILER=clang")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()
