include(CMakePackageConfigHelpers)
install(TARGETS fsmoe EXPORT fsmoeTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET fsmoe_command)
  install(TARGETS fsmoe_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY include/fsmoe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The contracts that kinds of a program's own are written to (docs/extending.md).
foreach(header base/status base/arena base/rng ops/tensor ops/memory ops/place ops/route ops/ops ops/linear comm/comm comm/control comm/data comm/op topo/topo
    moe/extend moe/param moe/phase moe/gate/gate moe/gate/router moe/order/order moe/dispatch/alltoall moe/dispatch/stages
    moe/expert/expert moe/expert/activation moe/hook/hook)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES src/${header}.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fsmoe-extend/${folder})
endforeach()
install(DIRECTORY data/gpt2 DESTINATION ${CMAKE_INSTALL_DATADIR}/fsmoe)
install(EXPORT fsmoeTargets NAMESPACE fsmoe:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fsmoe)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fsmoeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
configure_file(cmake/fsmoeConfig.cmake.in ${PROJECT_BINARY_DIR}/fsmoeConfig.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fsmoeConfig.cmake ${PROJECT_BINARY_DIR}/fsmoeConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fsmoe)
# The way from the .pc file to the prefix, so that an installed tree may be moved.
file(RELATIVE_PATH FSMOE_PC_TO_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
configure_file(cmake/fsmoe.pc.in ${PROJECT_BINARY_DIR}/fsmoe.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fsmoe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
