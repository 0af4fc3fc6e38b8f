"""What BUILD files load from here: every file that locks pin, in a directory that is a mirror."""

load("@pinned_image_suite//:defs.bzl", "DEBIAN_LOCK", "wheels_lock")
load("//tools:python_tool.bzl", "python_tool")

# What our tools are made of: Bazel, its rulesets, the interpreter and its libraries.
_DEBIAN_LOCKS = [
    Label("//third_party/bazel:root.lock.json"),
    Label(DEBIAN_LOCK),
]

_PYTHON_LOCKS = [
    Label(wheels_lock("requirements_dev", architecture))
    for architecture in ("amd64", "arm64")
]

def vendor(name, debian_locks = [], python_locks = [], args = [], **kwargs):
    """Declare the command that fetches all that a build needs.

    `bazel run //:vendor -- DIR` makes DIR a mirror from which everything builds without a network. The locks of
    our own tools are always among those that it reads.

    Args:
      name: name of the target.
      debian_locks: further locks of Debian packages.
      python_locks: further locks of wheels.
      args: further arguments, such as `--python-lock=PATH` of a lock that is in no package.
      **kwargs: further attributes of the target.
    """
    locks = {
        "--debian-lock": _DEBIAN_LOCKS + [native.package_relative_label(lock) for lock in debian_locks],
        "--python-lock": _PYTHON_LOCKS + [native.package_relative_label(lock) for lock in python_locks],
    }
    python_tool(
        name = name,
        srcs = [Label(":vendor.py")],
        main = Label(":vendor.py"),
        args = [
            "{}=$(rootpath {})".format(flag, label)
            for flag, labels in locks.items()
            for label in depset(labels).to_list()
        ] + args,
        data = depset([label for labels in locks.values() for label in labels]).to_list(),
        deps = [Label(":vendor")],
        **kwargs
    )
