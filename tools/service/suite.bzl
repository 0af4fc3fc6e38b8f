"""`debian_suite`: the suite of Debian that our own locks are of, chosen by --repo_env=PINNED_IMAGE_SUITE=NAME.

The interpreter of tools and tests and their libraries come from these locks, and so does this repository's image.
`@pinned_image_suite//:defs.bzl` has the suite's name and the labels of its locks, for BUILD files and a WORKSPACE.
"""

_DEFAULT = "bookworm"

# Intents in third_party/debian of no suite.
_NOT_SUITES = ["conformance", "maintainer_scripts"]

_DEFS = """\
SUITE = {suite}

SUITES = {suites}

DEFAULT_SUITE = {default}

# As package URLs name it.
DISTRO = {distro}

DEBIAN_LOCK = {debian_lock}

# Architecture → lock of the image's wheels.
PYTHON_LOCKS = {python_locks}

def wheels_lock(name, architecture):
    \"\"\"Return the label of the suite's lock of third_party/python/<name>.in.\"\"\"
    return {python_lock}.format(name, architecture)
"""

def suite_of(ctx):
    """Return the suite and the labels of its locks.

    Args:
      ctx: a repository_ctx or module_ctx.

    Returns:
      A struct of `name`; `debian_lock`, a label in this repository; and `python_lock`, one with places for the name
      of an .in file and the architecture.
    """
    name = ctx.getenv("PINNED_IMAGE_SUITE") or _DEFAULT

    # The default's wheels lie beside their inputs, another suite's in a folder of its name.
    folder = "" if name == _DEFAULT else name + "/"
    return struct(
        name = name,
        debian_lock = "//third_party/debian:{}.lock.json".format(name),
        python_lock = "//third_party/python:" + folder + "{}.{}.txt",
    )

def _release(text):
    """Return the number of the release, which is that of base-files; without packages yet, none."""
    for package in json.decode(text.strip() or '{"packages": []}')["packages"]:
        if package["name"] == "base-files":
            return package["version"].partition("+")[0].partition(".")[0]
    return ""

def _debian_suite_impl(ctx):
    suite = suite_of(ctx)
    directory = ctx.path(Label("//third_party/debian:BUILD.bazel")).dirname
    intents = [entry.basename.removesuffix(".yaml") for entry in directory.readdir() if entry.basename.endswith(".yaml")]
    suites = sorted([name for name in intents if name not in _NOT_SUITES])
    if suite.name not in suites:
        fail("PINNED_IMAGE_SUITE={}: third_party/debian has no {}.yaml; its suites are {}".format(
            suite.name,
            suite.name,
            ", ".join(suites),
        ))

    # For `tool_repositories`, which a WORKSPACE loads before it can load defs.bzl.
    ctx.symlink(ctx.path(Label(suite.debian_lock)), "debian.lock.json")
    ctx.file("BUILD.bazel", 'exports_files(["debian.lock.json"])\n')
    ctx.file("defs.bzl", _DEFS.format(
        debian_lock = repr(suite.debian_lock),
        default = repr(_DEFAULT),
        distro = repr("debian-" + _release(ctx.read(Label(suite.debian_lock)))),
        python_lock = repr(suite.python_lock),
        python_locks = repr({arch: suite.python_lock.format("requirements", arch) for arch in ["amd64", "arm64"]}),
        suite = repr(suite.name),
        suites = repr(suites),
    ))

debian_suite = repository_rule(
    implementation = _debian_suite_impl,
    doc = "The suite as defs.bzl, and its Debian lock.",
)
