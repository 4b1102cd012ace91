#!/bin/sh
# Mixline with a model, in one file: a shell script with an archive of Deno, Mixline, its libraries and
# the model behind it. Flags are those of `mixline serve`; `--help` lists them.
#
# The archive is unpacked once, into mixline/ of XDG_CACHE_HOME, else of ~/.cache, else of TMPDIR or
# /tmp. Needed are a C library as Debian has it, and tail, tar, gzip, mkdir, mktemp, mv, rm and id.
set -eu

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

if [ "${1:-}" = --version ]; then
  printf '%s\n' '@ID@'
  exit
fi

if [ -n "${XDG_CACHE_HOME:-}" ]; then
  base=$XDG_CACHE_HOME/mixline
elif [ -n "${HOME:-}" ]; then
  base=$HOME/.cache/mixline
else
  base=${TMPDIR:-/tmp}/mixline-$(id -u)
fi
dir=$base/@ID@
case $dir in
*,*) fail "Cannot unpack into \"$dir\": expected a path without commas. Set XDG_CACHE_HOME to another" ;;
esac

if [ ! -x "$dir/bin/deno" ]; then
  mkdir -p -m 700 "$base" || fail "Cannot unpack: expected a folder \"$base\" that may be written. Set XDG_CACHE_HOME to another"
fi
# In a folder that all may write, another user could have put programs there.
[ -O "$base" ] || fail "Cannot run from \"$base\": expected a folder of this user, got another's. Set XDG_CACHE_HOME to one of your own"

if [ ! -x "$dir/bin/deno" ]; then
  new=$(mktemp -d "$base/new.XXXXXX") || fail "Cannot unpack: expected a folder \"$base\" that may be written. Set XDG_CACHE_HOME to another"
  trap 'rm -rf "$new"' EXIT
  trap 'exit 130' INT TERM
  # On a full disk tar has a line for each of thousands of files; the first says it all.
  said=$({ tail -n +@LINES@ "$0" | tar -xzf - -C "$new" && printf unpacked; } 2>&1) || :
  case $said in
  *unpacked) ;;
  *)
    first=${said%%"
"*}
    fail "Cannot unpack \"$0\": expected a whole file, and room in \"$base\", got: $first"
    ;;
  esac
  # Another start may have been faster.
  mv "$new" "$dir" 2>/dev/null || [ -x "$dir/bin/deno" ] || fail "Cannot unpack into \"$dir\""
  rm -rf "$dir/${new##*/}"
  trap - EXIT INT TERM
fi

DENO_DIR=$dir/deno_dir DENO_NO_UPDATE_CHECK=1 exec "$dir/bin/deno" run --quiet --no-prompt --cached-only \
  @PERMISSIONS@ "--allow-run=$dir/bin/deno" "$dir/cli/main.ts" serve "$@"
