# install() and find_package(onebeat): the libraries, the public headers and the binary.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
