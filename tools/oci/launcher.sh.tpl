#!/bin/sh
# Starts {tool} for one target. Programs of a target find their files in a runfiles tree: that of
# whoever runs them, their own beside them, or the one they are in.
set -eu
if [ -n "${RUNFILES_DIR:-}" ] && [ -e "$RUNFILES_DIR/{target}" ]; then
    runfiles=$RUNFILES_DIR
elif [ -d "$0.runfiles" ]; then
    runfiles=$0.runfiles
else
    case $0 in
    *.runfiles/*) runfiles=${0%.runfiles/*}.runfiles ;;
    *)
        echo "ERROR: $0: no runfiles found; start it with 'bazel run {label}'" >&2
        exit 1
        ;;
    esac
fi
case $runfiles in
/*) ;;
*) runfiles=$PWD/$runfiles ;;
esac
RUNFILES_DIR=$runfiles exec "$runfiles/{tool}" --runfiles "$runfiles" --target "{target}" "$@"
