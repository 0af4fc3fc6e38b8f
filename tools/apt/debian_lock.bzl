"""`debian_lock`: an intent becomes a lock, by `bazel run`."""

load("//tools:python_tool.bzl", "python_tool")

# buildifier: disable=unnamed-macro
def workspace_path(label):
    """Return where a file of the main repository is.

    Args:
      label: label of the file as a BUILD file writes it; the file need not exist yet.

    Returns:
      Its path, relative to the workspace.
    """
    label = native.package_relative_label(label)
    return "/".join([part for part in (label.package, label.name) if part])

def run_command(name):
    """Return what people type to start a target of this package.

    Args:
      name: name of the target.

    Returns:
      The command, in quotes for an argument list.
    """
    return "'bazel run //{}:{}'".format(native.package_name(), name)

def debian_lock(name, intent, lock, available = None, record = None, **kwargs):
    """Declare the command that resolves an intent and writes its lock.

        debian_lock(
            name = "lock",
            intent = "debian.yaml",
            lock = "debian.lock.json",
        )

    `bazel run //:lock` verifies the archive's signed indexes and pins every package by SHA256; with
    `-- --check` it writes nothing and only says whether the lock is stale, with `-- --verify` whether the lock is
    what the signed indexes that it names give. `-- --update [NAME…]` prints what changes, with the CVEs that changelogs
    name, and with names moves these packages alone. An empty file serves as the first lock.

    Args:
      name: name of the target. Errors about the lock quote `bazel run` with it.
      intent: YAML file: what is wanted, and why. third_party/debian/README.md explains the keys.
      lock: JSON file to write.
      available: JSON file to write beside it: what the suites offer for its packages, for `image_audit`;
        `-- --refresh` writes that file alone.
      record: JSON file to write beside it: what apt itself chooses for the image, which has to be the same.
      **kwargs: further attributes of the target.
    """

    # gpgv and the archive's keys, and apt, pinned by the lock of our own tools.
    signing = Label("@pinned_image_debian//:signing")
    apt = Label("@pinned_image_debian//:apt")
    python_tool(
        name = name,
        srcs = [Label(":lock.py")],
        main = Label(":lock.py"),
        args = [
            "--intent=" + workspace_path(intent),
            "--lock=" + workspace_path(lock),
            "--command=" + run_command(name),
        ] + (["--available=" + workspace_path(available)] if available else []) + (
            ["--record=" + workspace_path(record), "--apt-debs $(rootpaths {})".format(apt)] if record else []
        ) + [
            "--signing-debs $(rootpaths {})".format(signing),
        ],
        data = [signing] + ([apt] if record else []),
        deps = [Label(":lock")],
        **kwargs
    )
