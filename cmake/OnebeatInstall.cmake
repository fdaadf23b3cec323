# install(), find_package(onebeat) and pkg-config: the libraries, the public headers and the binary.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/onebeat")
get_property(libraries GLOBAL PROPERTY ONEBEAT_LIBRARIES)
install(TARGETS ${libraries} EXPORT onebeatTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS onebeat_shared EXPORT onebeatSharedTargets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT onebeatSharedTargets NAMESPACE onebeat:: DESTINATION "${package_folder}")
install(EXPORT onebeatTargets NAMESPACE onebeat:: DESTINATION "${package_folder}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/onebeat" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
if(ONEBEAT_APPS)
  install(TARGETS onebeat RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/onebeatConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/onebeatConfig.cmake" INSTALL_DESTINATION "${package_folder}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/onebeatConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/onebeatConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/onebeatConfigVersion.cmake"
  DESTINATION "${package_folder}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/onebeat")

# For those who build without CMake: the C ABI.
set(pkgconfig_folder "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH prefix_of_pkgconfig "/${pkgconfig_folder}" "/")
configure_file("${PROJECT_SOURCE_DIR}/cmake/onebeat.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/onebeat.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/onebeat.pc" DESTINATION "${pkgconfig_folder}")
