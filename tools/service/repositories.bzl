"""Everything that a WORKSPACE declares to build images: two calls, and your own locks.

    load("@pinned_image//tools/service:repositories.bzl", "service_repositories")

    service_repositories(
        debian_lock = "//:debian.lock.json",
        python_locks = {"//:requirements.amd64.txt": "amd64"},
    )

    load("@pinned_image_setup//:setup.bzl", "service_setup")

    service_setup()

Two, because a WORKSPACE can load a file of a repository only after the line that declares it. What our tools need
themselves is named `pinned_image_*` and comes from our own locks, so that it gets in nobody's way.
"""

load("//third_party/bazel:rulesets.bzl", "rulesets")
load("//tools/apt:repositories.bzl", "apt_mirrors", "deb_packages", "deb_tree")
load("//tools/wheels:wheel_locks.bzl", "wheel_locks")
load(":facades.bzl", "facades")

_TOOLS_DEBIAN = "pinned_image_debian"
_TOOLS_PYPI = "pinned_image_pypi"
_WHEEL_LOCKS = "pinned_image_wheel_locks"
_LOCK = Label("//third_party/debian:bookworm.lock.json")

_TOOLS_LOCKS = {
    Label("//third_party/python:requirements_dev.amd64.txt"): "amd64",
    Label("//third_party/python:requirements_dev.arm64.txt"): "arm64",
}

_SETUP = """\
load("@{debian}//:packages.bzl", "{debian}_packages")
load("@{tools_debian}//:packages.bzl", "{tools_debian}_packages")
load("@{wheel_locks}//:wheels.bzl", "wheel_repositories")
load("@pinned_image//tools/wheels:repositories.bzl", "python_hubs")

def service_setup():
    \"\"\"Declares what the locks pin; each file is fetched when a target needs it.\"\"\"
    {debian}_packages()
    {tools_debian}_packages()
    python_hubs("{wheel_locks}", {hubs})
    wheel_repositories()
"""

def _setup_impl(ctx):
    ctx.file("BUILD.bazel", "")
    ctx.file("setup.bzl", _SETUP.format(
        debian = ctx.attr.debian,
        hubs = repr(ctx.attr.hubs),
        tools_debian = _TOOLS_DEBIAN,
        wheel_locks = _WHEEL_LOCKS,
    ))

_setup = repository_rule(
    implementation = _setup_impl,
    doc = "The second half of service_repositories.",
    attrs = {
        "debian": attr.string(mandatory = True, doc = "Name of the hub of the Debian lock."),
        "hubs": attr.string_list(mandatory = True, doc = "Names of the hubs of wheels."),
    },
)

def service_repositories(debian_lock, python_locks, debian = "debian", pypi = "pypi"):
    """Declares mirrors, rulesets, the interpreter and the hubs of the locks.

    Args:
      debian_lock: lock of Debian packages for images; `@<debian>//:<group>` has its packages.
      python_locks: locks of wheels for images, label to Debian's name of the architecture;
        `@<pypi>//:requirements.bzl` has their labels.
      debian: name of the hub of Debian packages.
      pypi: name of the hub of wheels.
    """
    apt_mirrors(name = "pinned_image_mirrors")
    rulesets()
    facades()
    deb_packages(name = _TOOLS_DEBIAN, lock = _LOCK)
    deb_packages(name = debian, lock = debian_lock)

    # The one interpreter: of tools, tests and pip, and the same packages as in our own image.
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
        lock = "@{}//:toolchain.lock.json".format(_TOOLS_DEBIAN),
    )
    wheel_locks(
        name = _WHEEL_LOCKS,
        image = python_locks,
        image_hub = pypi,
        tools = _TOOLS_LOCKS,
        tools_hub = _TOOLS_PYPI,
    )
    _setup(
        name = "pinned_image_setup",
        debian = debian,
        hubs = [_TOOLS_PYPI] + ["{}_{}".format(pypi, arch) for arch in python_locks.values()],
    )
    native.register_toolchains(
        "@pinned_image_cpython//:toolchain",
        "@pinned_image//third_party/bazel:no_cc_toolchain",
    )
