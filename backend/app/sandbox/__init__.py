"""Confine the programs that decode videos, and hide the memory of the processes that start them.

A decoder reads bytes that strangers wrote, so it is treated as if they had written it, too. It is
started through `launch`, which gives up every right that decoding does not need: `landlock` limits
files, TCP, abstract sockets and signals, `seccomp` the system calls. What the kernel lacks is left
out and reported. This package depends on nothing else of the application.
"""
