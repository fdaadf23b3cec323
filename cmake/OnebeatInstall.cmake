# install() and find_package(onebeat): the libraries, the public headers and the binary.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_folder "${CMAKE_INSTALL_LIBDIR}/cmake/onebeat")
get_property(libraries GLOBAL PROPERTY ONEBEAT_LIBRARIES)
install(TARGETS ${libraries} EXPORT onebeatTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
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
