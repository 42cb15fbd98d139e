# Shared by the scripts: where the repository is, and how progress is shown.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SUITE=${FAIRLEAD_SUITE:-trixie}
# shellcheck disable=SC2034  # these three are for the scripts that source this file
VENV=$ROOT/.venv
# shellcheck disable=SC2034
BASE_IMAGE=fairlead/debian:$SUITE
# shellcheck disable=SC2034
HOST_IMAGE=fairlead/host:$SUITE
# The legacy builder is the one that every Debian release's engine has.
export DOCKER_BUILDKIT=0
# One clock for the whole command, also across scripts that call each other.
export FAIRLEAD_STARTED=${FAIRLEAD_STARTED:-$(date +%s)}

say() { # what: one line of progress with the time since the command began
  local t=$(($(date +%s) - FAIRLEAD_STARTED))
  printf '[%02d:%02d] %s\n' $((t / 60)) $((t % 60)) "$*"
}

die() { # why and what to do about it
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "'$1' needs root: run make as root, or install sudo"
  fi
}

quietly() { # name, command...: keeps what it prints in .cache/log/NAME.log and shows the end of it when it fails
  local name=$1 log=$ROOT/.cache/log/$1.log
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    die "$name failed; the whole output is in ${log#"$ROOT"/}"
  fi
}

free_port() { # the first port from the given one on that nothing listens on
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

archived_id() { # file made by docker save: the digest of its configuration, what every engine that loads it calls it
  tar -xOf "$1" manifest.json | grep -o '"Config":"[^"]*"' | grep -oE '[0-9a-f]{64}' | sed 's/^/sha256:/'
}

apt_install() { # packages, only those that are missing
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "Installing ${missing[*]}"
  quietly apt-update as_root apt-get update
  quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

with_docker() { # "$0" "$@": makes sure of an engine; where this user may not use it, starts the script again with its group
  "$ROOT/scripts/engine" || exit
  docker version >/dev/null 2>&1 && return
  [ -z "${FAIRLEAD_REGROUPED-}" ] || die "this user may not use the Docker engine, not even with the group of its socket"
  # Still this user, so that all files in this folder stay the user's own.
  exec sudo --preserve-env setpriv --reuid "$(id -u)" --regid "$(id -g)" \
    --groups "$(id -G | tr ' ' ,),$(stat -c %g /var/run/docker.sock)" \
    env "HOME=$HOME" "USER=$(id -un)" "LOGNAME=$(id -un)" "PATH=$PATH" FAIRLEAD_REGROUPED=1 "$@"
}
