#!/bin/sh
# Stands for a container engine: prints the image that it is given.
[ "$1 $2" = "load --input" ] && exec cat "$3"
