# One set of objects makes the shared library, the static one that tests link (they see hidden symbols), and the command.
file(GLOB_RECURSE FSMOE_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*.c)
set(FSMOE_MPI_ONLY ${PROJECT_SOURCE_DIR}/src/comm/mpi.c)
file(GLOB FSMOE_ONEDNN_ONLY CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cpu/*_onednn.c)
file(GLOB FSMOE_CBLAS_ONLY CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cpu/*_cblas.c)
if(NOT FSMOE_MPI)
  list(REMOVE_ITEM FSMOE_SOURCES ${FSMOE_MPI_ONLY})
endif()
if(FSMOE_ONEDNN)
  list(REMOVE_ITEM FSMOE_SOURCES ${FSMOE_CBLAS_ONLY})
else()
  list(REMOVE_ITEM FSMOE_SOURCES ${FSMOE_ONEDNN_ONLY})
endif()

add_library(fsmoe_flags INTERFACE)
target_compile_options(fsmoe_flags INTERFACE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -fno-math-errno -ffp-contract=fast)
target_compile_definitions(fsmoe_flags INTERFACE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
if(FSMOE_SANITIZE)
  target_compile_options(fsmoe_flags INTERFACE -fsanitize=${FSMOE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(fsmoe_flags INTERFACE -fsanitize=${FSMOE_SANITIZE})
endif()

# Tensors are plain arrays inside the tables of operations, and where the host's are worked on; everywhere else to look into one
# does not compile (src/ops/tensor.h).
file(GLOB FSMOE_OPEN CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/*.c ${PROJECT_SOURCE_DIR}/src/cpu/*.c)
list(APPEND FSMOE_OPEN ${PROJECT_SOURCE_DIR}/src/moe/gate/on_host.c)
set_source_files_properties(${FSMOE_OPEN} PROPERTIES COMPILE_DEFINITIONS FSM_TENSORS_OPEN)

add_library(fsmoe_objects OBJECT ${FSMOE_SOURCES})
target_include_directories(fsmoe_objects PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> PRIVATE ${PROJECT_SOURCE_DIR}/src ${RANDOM123_INCLUDE})
set(FSMOE_PRIVATE_LIBRARIES PkgConfig::YAML PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::XXHASH PkgConfig::NLOPT
  ${FSMOE_GEMM_LIBRARY} OpenMP::OpenMP_C Threads::Threads m)
target_compile_definitions(fsmoe_objects PRIVATE FSMOE_VERSION="${PROJECT_VERSION}"
  FSMOE_DATA_DIR="${CMAKE_INSTALL_FULL_DATADIR}/fsmoe" FSMOE_SOURCE_DATA_DIR="${PROJECT_SOURCE_DIR}/data")
if(FSMOE_MPI)
  list(APPEND FSMOE_PRIVATE_LIBRARIES MPI::MPI_C)
  target_compile_definitions(fsmoe_objects PRIVATE FSMOE_WITH_MPI)
endif()
target_link_libraries(fsmoe_objects PRIVATE fsmoe_flags ${FSMOE_PRIVATE_LIBRARIES})

add_library(fsmoe SHARED $<TARGET_OBJECTS:fsmoe_objects>)
target_include_directories(fsmoe PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(fsmoe PRIVATE $<BUILD_INTERFACE:fsmoe_flags> ${FSMOE_PRIVATE_LIBRARIES})
set_target_properties(fsmoe PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

add_library(fsmoe_static STATIC $<TARGET_OBJECTS:fsmoe_objects>)
target_include_directories(fsmoe_static PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${RANDOM123_INCLUDE})
target_compile_definitions(fsmoe_static INTERFACE FSM_TENSORS_OPEN=) # tests look inside
target_link_libraries(fsmoe_static PUBLIC fsmoe_flags ${FSMOE_PRIVATE_LIBRARIES})

file(GLOB FSMOE_TOOL_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/*.c)
if(FSMOE_TOOL_SOURCES)
  add_executable(fsmoe_command ${FSMOE_TOOL_SOURCES})
  target_include_directories(fsmoe_command PRIVATE ${PROJECT_SOURCE_DIR}/tools)
  target_compile_definitions(fsmoe_command PRIVATE FSMOE_VERSION="${PROJECT_VERSION}")
  target_link_libraries(fsmoe_command PRIVATE fsmoe fsmoe_flags m)
  set_target_properties(fsmoe_command PROPERTIES OUTPUT_NAME fsmoe RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
    INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()
