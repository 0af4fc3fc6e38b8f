"""`python_lock`: requirements become locks of wheels, one for each architecture, by `bazel run`."""

load("//tools:python_tool.bzl", "python_tool")
load("//tools/apt:debian_lock.bzl", "run_command", "workspace_path")

def python_lock(name, debian_lock, requirements = ["requirements.in"], architectures = [], directory = None, **kwargs):
    """Declare the command that resolves requirements and writes their locks.

        python_lock(
            name = "lock",
            debian_lock = "debian.lock.json",
        )

    `bazel run //:lock` writes `requirements.<arch>.txt` beside `requirements.in` for each architecture of the Debian
    lock; with `-- --check` it changes nothing and fails if a lock does not follow from its inputs.

    Args:
      name: name of the target. The locks, and errors about them, quote `bazel run` with it.
      debian_lock: the lock whose python3.N and libc6 the wheels have to fit.
      requirements: hand-written .in files of one directory. A later one keeps the versions of the earlier ones.
      architectures: Debian's names of the only architectures to lock for, where wheels are for no other.
      directory: where the locks go, if not beside the requirements.
      **kwargs: further attributes of the target.
    """
    python_tool(
        name = name,
        srcs = [Label(":lock.py")],
        main = Label(":lock.py"),
        args = ["--input=" + workspace_path(file) for file in requirements] + [
            "--architecture=" + architecture
            for architecture in architectures
        ] + [
            "--debian-lock=" + workspace_path(debian_lock),
            "--command=" + run_command(name),
        ] + (["--directory=" + workspace_path(directory)] if directory else []),
        deps = [Label(":lock")],
        **kwargs
    )
