#!/usr/bin/env bash
# Set-up and its diagnosis, before there is any Python to run. The Makefile calls it.
#   bash configs/setup.sh install PYTHON   build .venv, or name what is in the way and exit 1
#   bash configs/setup.sh doctor PYTHON    report only; ends in `insideout doctor` where .venv is whole
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:?install or doctor}
python=${2:-python3.11}
here=$(pwd -P)
log=.venv/setup.log
again="make setup"
[ "$python" = python3.11 ] || again="make setup PYTHON='$python'"
problems=0

ok() {
    [ "$mode" = install ] || printf '%8s   %s\n' ok "$1"
}

# wrong WHAT FIX...: every further argument is one line of the fix.
wrong() {
    problems=$((problems + 1))
    local to=1
    [ "$mode" = doctor ] || to=2
    {
        printf '%8s   %s\n' wrong "$1"
        printf '           fix: %s\n' "$2"
        [ $# -lt 3 ] || printf '                %s\n' "${@:3}"
    } >&"$to"
}

stop_if_wrong() {
    [ "$problems" = 0 ] || exit 1
}

version_of() {
    "$1" -c 'import platform; print(platform.python_version())' 2>&1
}

is_root_with_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

in_apt() {
    command -v apt-cache >/dev/null && apt-cache show "$1" >/dev/null 2>&1
}

python_from_apt() {
    [ "$python" = python3.11 ] && ! command -v python3.11 >/dev/null && in_apt python3.11
}

check_python() {
    local version
    if ! command -v "$python" >/dev/null; then
        wrong "$python is not on this system; Blender 4.5 as a module (bpy) needs Python 3.11" "${ways[@]}"
    elif ! version=$(version_of "$python"); then
        wrong "$python does not start: ${version##*$'\n'}" "${ways[@]}"
    elif [[ $version != 3.11.* ]]; then
        wrong "$python is Python $version; Blender 4.5 as a module (bpy) exists for Python 3.11 only" "${ways[@]}"
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null && ! is_debians "$python"; then
        wrong "$python has no modules venv and ensurepip" "${ways[@]}"
    else
        ok "Python $version ($python)"
    fi
}

is_debians() {
    [ "$(command -v "$1")" = /usr/bin/python3.11 ]
}

ways=(
    "one of these, which work on Debian 13 and Ubuntu 24.04 too:"
    "uv:     pipx install uv && uv python install 3.11"
    "        make setup PYTHON=\"\$(uv python find 3.11)\""
    "conda:  conda create -y -p ~/python3.11 -c conda-forge python=3.11      (or micromamba)"
    "        make setup PYTHON=~/python3.11/bin/python"
)

# Debian packages that are missing, as words.
missing_packages() {
    local known library package
    known=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null | awk '{print $1}')
    while read -r library package; do
        case "$library" in "" | "#"*) continue ;; esac
        grep -qxF "$library" <<<"$known" || echo "$package"
    done <configs/system-libraries.txt
    command -v c++ >/dev/null || echo g++ # fpsample comes as source: it needs a compiler and Python's headers
    if python_from_apt; then
        printf '%s\n' python3.11 python3.11-venv python3.11-dev
    elif is_debians "$python"; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3.11-venv
        "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_paths()["include"] + "/Python.h")' \
            2>/dev/null || echo python3.11-dev
    fi
}

check_system() {
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    if [ -z "$missing" ]; then
        ok "system libraries and compiler"
    elif [ "$mode" = install ] && [ "$problems" = 0 ] && is_root_with_apt; then
        echo "set-up: system packages: $missing"
        # shellcheck disable=SC2086 # one word per package is meant
        apt_get install -y --no-install-recommends $missing || wrong "apt-get failed, see above" "$again"
    elif command -v apt-get >/dev/null; then
        wrong "system packages are missing; this line installs them" \
            "sudo apt-get update && sudo apt-get install -y ${missing% }" "then the same command again"
    else
        wrong "shared libraries are missing, here by their Debian packages: ${missing% }" \
            "install this system's packages of the same content"
    fi
}

apt_get() {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >/dev/null
}

check_space() {
    local free
    free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
    if [ "$free" -ge 6 ]; then
        ok "$free GiB free here; set-up takes 5, or 10 with torch for CUDA"
    else
        wrong "$free GiB free here; set-up takes 5" "free some, or clone to a larger disk"
    fi
}

# A .venv that cannot work is named: building on it would fail in the same way forever.
check_venv() {
    local version made
    local rebuild="rm -rf .venv && $again"
    if [ ! -e .venv ] && [ ! -L .venv ]; then
        return
    elif [ ! -e .venv/.insideout ]; then
        wrong ".venv was not made by this Makefile and is left alone" "mv .venv .venv.other && $again"
    elif [ ! -e .venv/bin/python ]; then
        wrong ".venv has no Python, or the one that it was made with has moved" "$rebuild"
    elif ! version=$(version_of .venv/bin/python); then
        wrong ".venv's Python does not start: ${version##*$'\n'}" "$rebuild"
    elif [[ $version != 3.11.* ]]; then
        wrong ".venv holds Python $version; Blender 4.5 as a module (bpy) exists for 3.11 only" "$rebuild"
    else
        made=$(sed -n 's/^command = .* -m venv //p' .venv/pyvenv.cfg 2>/dev/null || true)
        [ "$made" = "$here/.venv" ] ||
            wrong ".venv was made in ${made%/.venv} and runs the code there, not here" "$rebuild"
    fi
}

fingerprint() {
    cat pyproject.toml requirements.lock | cksum
}

is_ready() {
    [ "$(cat .venv/.insideout-ready 2>/dev/null)" = "$(fingerprint)" ]
}

install() {
    exec 9<configs/setup.sh # `make demo` and `make test` at once: one of them sets up
    flock -n 9 || { echo "set-up: waiting for another one" && flock -w 3600 9; }
    check_venv
    stop_if_wrong
    ! is_ready || return 0
    [ -e .venv ] || python_from_apt || refresh_package_lists || check_python
    check_system
    stop_if_wrong
    [ -e .venv ] || check_python
    check_space
    stop_if_wrong
    make_venv
    install_packages
    fingerprint >.venv/.insideout-ready
    echo "set-up: done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

# A new container's lists are empty: then apt does not know yet whether it has Python 3.11. True if it has.
refresh_package_lists() {
    [ "$python" = python3.11 ] && ! command -v python3.11 >/dev/null && is_root_with_apt || return 1
    echo "set-up: asking apt for python3.11"
    apt-get update -qq && in_apt python3.11
}

make_venv() {
    if [ ! -e .venv ]; then
        echo "set-up: Python $(version_of "$python") -> .venv"
        mkdir .venv
        touch .venv/.insideout # before anything else is in it: an interrupted set-up is still ours
        "$python" -m venv .venv
    elif [ ! -x .venv/bin/pip ]; then
        .venv/bin/python -m ensurepip >/dev/null
    fi
}

install_packages() {
    echo "set-up: $(grep -c == requirements.lock) packages into .venv, 1.6 GB to download, 4 GB with torch for CUDA"
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        -c requirements.lock -e '.[render,train,clip,view,wandb,dev]' 2>&1 | large_steps; then
        wrong "pip: $(last_error)" "$again      (continues; pip's output is in $log)" \
            "if it stops at the same place: rm -rf .venv && $again"
        exit 1
    fi
}

# pip's output goes to the log; what takes time, to the terminal.
large_steps() {
    local line
    : >"$log"
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case "$line" in
            "  Downloading "*[0-9][0-9].[0-9]" MB)" | "  Downloading "*" GB)" | "Building wheels for "*) echo "$line" ;;
            "Installing collected packages: "*) echo "  Installing $(wc -w <<<"${line#*:}") packages" ;;
        esac
    done
}

last_error() {
    (grep -E '^ *(ERROR|error)' "$log" || tail -n 1 "$log") 2>/dev/null | tail -n 1 | cut -c 1-200
}

doctor() {
    local broken
    check_venv
    if [ "$problems" = 0 ] && is_ready; then
        broken=$(.venv/bin/python -c 'import pipeline.commands.doctor' 2>&1) && exec .venv/bin/insideout doctor
        wrong ".venv is damaged: ${broken##*$'\n'}" "rm -rf .venv && $again"
    else
        [ -e .venv ] || python_from_apt || check_python
        check_system
        check_space
        [ "$problems" != 0 ] || report_unfinished
    fi
    echo "$problems wrong. 'make doctor' checks the rest (Blender, Ray, memory) once these are fixed."
    exit 1
}

report_unfinished() {
    if [ ! -e .venv ]; then
        ok ".venv is not there yet: \`make demo\`, \`make test\` or \`$again\` builds it"
        exit 0
    elif [ -e .venv/.insideout-ready ]; then
        wrong ".venv is older than pyproject.toml or requirements.lock" "$again"
    else
        wrong "set-up has not finished; pip's last words: $(last_error)" "$again"
    fi
}

case "$mode" in
    install | doctor) "$mode" ;;
    *) echo "usage: bash configs/setup.sh install|doctor PYTHON" >&2 && exit 2 ;;
esac
