"""Run a program of the Python index with nothing but its own lock.

run_module MODULE[:FUNCTION] [ARGUMENT …]

A module alone is run as `python -m` does; with a function, as the wheel's entry point would be.
"""

import importlib
import runpy
import sys

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    module, _, function = sys.argv[0].partition(":")
    if function:
        sys.exit(getattr(importlib.import_module(module), function)())
    runpy.run_module(module, run_name="__main__", alter_sys=True)
