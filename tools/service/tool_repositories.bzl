"""What has to be there before rules_python can be loaded: mirrors, hubs of Debian packages, the interpreter.

What our tools need themselves comes from our own locks and is named `pinned_image_*`, so that it conflicts with no name of an adopter's.
"""

load("//tools/apt:mirrors.bzl", "host_arch")
load("//tools/apt:repositories.bzl", "deb_packages", "deb_tree")
load("//tools/wheels:names.bzl", "canonical")
load(":suite.bzl", "suite_of")

_DEBIAN_HUB = "pinned_image_debian"

# The libraries of tools and tests.
PYTHON_HUB = "pinned_image_pypi"

def tool_repositories(debian):
    """Declare hubs of Debian packages, the tools' own included, and the interpreter.

    Args:
      debian: name of a hub → its lock.
    """
    tools_lock = Label("@pinned_image_suite//:debian.lock.json")
    for hub, lock in ({_DEBIAN_HUB: tools_lock} | debian).items():
        deb_packages(name = hub, hub = hub, lock = lock)

    # The one interpreter, of tools, tests and pip: the same packages that our own image has.
    deb_tree(
        name = "pinned_image_cpython",
        build_file = Label("//third_party/debian:cpython.BUILD"),
        compiled_directories = ["usr/lib/python3.*"],
        environment = {
            # Nothing that a repository rule or an action starts writes bytecode beside its inputs.
            "PYTHONDONTWRITEBYTECODE": "${PYTHONDONTWRITEBYTECODE-1}",
            "PYTHONNOUSERSITE": "1",
            "PYTHONTZPATH": "$root/usr/share/zoneinfo",
        },
        groups = ["toolchain"],
        launchers = {"usr/bin/python3": "usr/bin/python3.*"},
        lock = "@@{}//:toolchain.lock.json".format(canonical(_DEBIAN_HUB)),
    )

def read_locks(ctx, debian, python):
    """Read the locks, for declare_repositories.

    Args:
      ctx: a repository_ctx or module_ctx.
      debian: name of a hub → its lock of Debian packages.
      python: name of a hub → architecture → its lock of wheels.

    Returns:
      What declare_repositories takes: strings, lists and dictionaries.
    """
    arch = host_arch(ctx)
    suite = suite_of(ctx)
    debian = {_DEBIAN_HUB: Label(suite.debian_lock)} | debian
    tools = Label(suite.python_lock.format("requirements_dev", arch))
    return {
        "arch": arch,
        "debian": {
            hub: {"label": str(lock), "text": ctx.read(lock)}
            for hub, lock in debian.items()
        },
        "python": {
            hub: {
                architecture: {"label": str(lock), "text": ctx.read(lock)}
                for architecture, lock in locks.items()
            }
            for hub, locks in python.items()
        },
        "tools": {"label": str(tools), "text": ctx.read(tools)},
    }
