# Sourced by experiments/demo and tests/run: makes a fresh Debian 12 ready and builds. A second call installs and builds nothing twice.
# shellcheck shell=bash

say() { printf '\033[1m== %s\033[0m\n' "$*" | { [ -t 1 ] && cat || sed 's/\x1b\[[0-9;]*m//g'; }; }

build_packages=(clang-16 cmake ninja-build ccache libboost1.81-dev nlohmann-json3-dev libfmt-dev libssl-dev libcli11-dev libnl-3-dev libpq-dev libsqlite3-dev libjs-dygraphs)
lab_packages=(haproxy postgresql)
vm_packages=(qemu-system-x86 linux-image-cloud-amd64 busybox-static cpio kmod nftables iproute2 iptables)  # a machine with netem, for tests
far_packages=(openssh-client openssh-server podman crun runc)  # other machines and containers, for tests; runc takes cgroups in hybrid mode
sanitizer_packages=(libclang-rt-16-dev)
login_packages=(nginx-light slapd freeradius)  # real servers to log in at, for tests
npm_packages=(oidc-provider@8.8.1)  # a real OpenID provider; the last that is known to run on Debian's node 18
test_packages=(catch2 python3 python3-jsonschema chromium strace procps socat ipset libfaketime prometheus prometheus-alertmanager "${sanitizer_packages[@]}" "${vm_packages[@]}" "${far_packages[@]}" "${login_packages[@]}")

# install_missing PACKAGE...: says what it installs; needs root or sudo only when something is missing.
install_missing() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "missing packages; as root: apt-get install ${missing[*]}" >&2; return 69; }
    as_root=(sudo)
  fi
  # Nothing that is installed here may start a service: the lab starts its own HAProxy and PostgreSQL.
  local no_start=/usr/sbin/policy-rc.d made=
  if [ ! -e "$no_start" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$no_start" >/dev/null && "${as_root[@]}" chmod 755 "$no_start" && made=1
  fi
  local log status=0
  log=$(mktemp)
  { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || status=$?
  [ -n "$made" ] && "${as_root[@]}" rm -f "$no_start"
  [ "$status" -eq 0 ] || { tail -n 20 "$log" >&2; echo "could not install ${missing[*]}; as root: apt-get install ${missing[*]}" >&2; rm -f "$log"; return 69; }
  rm -f "$log"
}

# install_npm NAME@VERSION...: packages of npm's, each in a folder of its own in the cache, never in the repository. What is there is not asked
# for again. Their install scripts are not run.
install_npm() {
  local package dir log
  for package in "$@"; do
    dir=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/capsize/npm/$package
    [ -e "$dir/node_modules/${package%@*}/package.json" ] && continue
    # Another node than Debian's brings its own npm, and no package that is called so.
    command -v npm >/dev/null || install_missing nodejs npm || { echo "npm is missing, and with it $package; as root: apt-get install nodejs npm" >&2; return 69; }
    say "installing $package"
    mkdir -p "$dir.new.$$" || return 69
    log=$dir.new.$$/npm.log
    if ! npm install --prefix "$dir.new.$$" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "$package" >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      echo "could not install $package; when npm can reach its registry: npm install --prefix $dir --ignore-scripts $package" >&2
      rm -rf "$dir.new.$$"
      return 69
    fi
    rm -rf "$dir"
    mv "$dir.new.$$" "$dir"
  done
}

# build PRESET TARGET...: configures where it has not been for these targets (experiments/demo does it without tests), then builds what changed.
build() {
  local preset=$1
  shift
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  ninja -C "build/$preset" -t query "$@" >/dev/null 2>&1 || { say "configuring $preset"; cmake --preset "$preset" "${launcher[@]}" "${configure_options[@]}" >/dev/null; }
  say "building $preset: $*"
  cmake --build "build/$preset" --target "$@" -- --quiet
}
