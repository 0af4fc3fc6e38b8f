"""Run a module as `python -m` does: a program of the Python index with nothing but its own lock.

run_module MODULE [ARGUMENT …]
"""

import runpy
import sys

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
