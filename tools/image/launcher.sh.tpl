#!/bin/sh
# Start {tool} for one target. Its files are in a runfiles tree: that of the caller, the one beside
# this program, or the one that this program is in.
set -eu
case $0 in
/*) self=$0 ;;
*) self=$PWD/$0 ;;
esac
if [ -e "${RUNFILES_DIR:-}/{target}" ]; then
    runfiles=$RUNFILES_DIR
elif [ -d "$self.runfiles" ]; then
    runfiles=$self.runfiles
else
    case $self in
    *.runfiles/*) runfiles=${self%.runfiles/*}.runfiles ;;
    *)
        echo "ERROR: $self: no runfiles found; start it with 'bazel run {label}'" >&2
        exit 1
        ;;
    esac
fi
case $runfiles in
/*) ;;
*) runfiles=$PWD/$runfiles ;;
esac
RUNFILES_DIR=$runfiles exec "$runfiles/{tool}" --runfiles "$runfiles" --target "{target}" "$@"
