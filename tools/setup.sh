#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, testing or developing Onebeat needs and this machine lacks: packages of the distribution
# through apt (as root or with sudo), Python's pip in .venv. Says what it does; does nothing the second time.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian 12 has Boost.JSON only beside its default Boost, which is older; later distributions have it in theirs.
boost_json=libboost-json-dev
grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release && boost_json=libboost-json1.81-dev

build_packages=(
  g++ make cmake ninja-build ccache pkg-config git ca-certificates
  libfmt-dev libpcre2-dev libutf8proc-dev libssl-dev libcurl4-openssl-dev libhwy-dev libcli11-dev "$boost_json"
  python3 python3-pip python3-venv # `onebeat pull` fetches models through pip
)
test_packages=(libgtest-dev libgmock-dev python3-dev)
develop_packages=(clang libclang-rt-dev clang-format-14 clang-tidy-14)

usage() {
  cat <<USAGE
usage: tools/setup.sh [build|test|develop]
  build    what \`make run\` and \`make bench\` need
  test     that, and what \`make test\` and \`make python\` need
  develop  all of it, and clang, clang-format and clang-tidy (make fuzz, format, lint)
USAGE
}

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

case "${1:-build}" in
  build) packages=("${build_packages[@]}") ;;
  test) packages=("${build_packages[@]}" "${test_packages[@]}") ;;
  develop) packages=("${build_packages[@]}" "${test_packages[@]}" "${develop_packages[@]}") ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

missing_packages() {
  local installed package
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
  for package in "${packages[@]}"; do
    grep -qxF "installed $package" <<<"$installed" || printf '%s\n' "$package"
  done
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

install_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "no apt-get here; these packages, or what your distribution calls them, have to be installed: ${packages[*]}"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "these packages are missing and there is no sudo; as root, run: apt-get install ${missing[*]}"
  fi
  say "installing through apt: ${missing[*]}"
  as_root apt-get update -qq || fail "apt-get update failed (is there a network?)"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install: ${missing[*]}"
}

make_virtual_environment() {
  .venv/bin/python3 -c 'import pip' 2>/dev/null && return
  say "making a Python environment with pip in .venv"
  rm -rf .venv
  python3 -m venv .venv || fail "python3 -m venv failed"
}

install_packages
make_virtual_environment
