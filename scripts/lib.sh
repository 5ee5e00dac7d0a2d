# shellcheck shell=bash
# Shared by the set-up scripts: paths, output, becoming root.

# shellcheck disable=SC2034 # for the scripts that read this file in
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/galera-console
# Servers live in sbin, which an ordinary user's PATH leaves out; rustup's directory may not be on it yet either.
export PATH=$cache/tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
mkdir -p "$cache"

# One line for each argument.
say() { printf '%s\n' "$@"; }

have() { command -v "$1" >/dev/null 2>&1; }

# step NAME REMEDY COMMAND…: runs the command and prints its duration; on failure prints the step and the remedy.
step() {
  local name=$1 remedy=$2 began status=0
  shift 2
  began=$EPOCHREALTIME
  say "==> $name"
  # `|| status=$?` would switch `set -e` off inside a shell function, so the commands given here are programs.
  "$@" || status=$?
  if [ "$status" -eq 0 ]; then
    say "    $name: done in $(elapsed "$began")"
    return 0
  fi
  {
    say ""
    say "FAILED: $name (exit status $status, after $(elapsed "$began"))"
    say "Remedy: $remedy"
  } >&2
  return "$status"
}

# elapsed SINCE: the time since then ($EPOCHREALTIME), as "1.2 s" or "3 min 12 s".
elapsed() {
  local tenths=$((($(micros "$EPOCHREALTIME") - $(micros "$1")) / 100000))
  if [ "$tenths" -lt 600 ]; then
    say "$((tenths / 10)).$((tenths % 10)) s"
  else
    say "$((tenths / 600)) min $((tenths % 600 / 10)) s"
  fi
}

# EPOCHREALTIME's decimal sign is the locale's.
micros() { say "${1//[!0-9]/}"; }

# as_root COMMAND…: runs it as root, through sudo when needed. 77 when that is impossible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo -- "$@"
  else
    return 77
  fi
}

# quietly LOG COMMAND…: keeps the output in LOG and shows its end only when the command fails.
quietly() {
  local log=$1 status=0
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 25 "$log" | sed 's/^/    | /' >&2
    say "    (full log: $log)" >&2
  fi
  return "$status"
}

# The mirror of Debian's own archive, as apt has it on this machine.
debian_mirror() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk '$1 ~ /\/debian\/?$/ && $2 !~ /-security|-updates|-backports/ {print $1; exit}'
}
