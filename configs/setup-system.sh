#!/bin/sh
# Name the system packages that are missing; install them when run by root. Called by the Makefile before set-up.
set -eu
folder=$(dirname "$0")
python=${1:-python3.11}
missing=""

known=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null | awk '{print $1}')
while read -r library package; do
    case "$library" in ""|"#"*) continue ;; esac
    printf '%s\n' "$known" | grep -qxF "$library" || missing="$missing $package"
done < "$folder/system-libraries.txt"

command -v "$python" >/dev/null || missing="$missing python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3.11-venv"
# fpsample comes as source: it needs a C++ compiler and Python's headers
command -v c++ >/dev/null || missing="$missing g++"
"$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' 2>/dev/null ||
    missing="$missing python3.11-dev"

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # one word a package is meant
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "System packages are missing. Run this once, then the same command again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y$missing" >&2
    exit 1
fi
