"""Everything that a WORKSPACE declares to build images: two calls, and your own locks.

    load("@pinned_image//tools/service:repositories.bzl", "service_repositories")

    service_repositories(
        debian_lock = "//:debian.lock.json",
        python_locks = {"//:requirements.amd64.txt": "amd64"},
    )

    load("@pinned_image_setup//:setup.bzl", "service_setup")

    service_setup()

Two, because a WORKSPACE can load a file of a repository only after the line that declares it. extensions.bzl does the
same for a MODULE.bazel, in one.
"""

load("//third_party/bazel:rulesets.bzl", "rulesets")
load("//tools/apt:repositories.bzl", "apt_mirrors")
load(":facades.bzl", "facades")
load(":platforms.bzl", "ARCHITECTURES")
load(":suite.bzl", "debian_suite")
load(":tool_repositories.bzl", "read_locks", "tool_repositories")

_SETUP = """\
load("{declare}", "declare_repositories")

def service_setup():
    declare_repositories(**json.decode({locks}))
"""

def _setup_impl(ctx):
    locks_of = {arch: lock for lock, arch in ctx.attr.python_locks.items()}
    if sorted(locks_of) != sorted(ctx.attr.python_locks.values()) or not locks_of or [arch for arch in locks_of if arch not in ARCHITECTURES]:
        fail("service_repositories: python_locks must name one lock for each architecture, of {}; found {}".format(
            ", ".join(ARCHITECTURES),
            ", ".join(ctx.attr.python_locks.values()) or "none",
        ))
    python = {ctx.attr.pypi: locks_of}
    locks = read_locks(ctx, {ctx.attr.debian: ctx.attr.debian_lock}, python)
    ctx.file("BUILD.bazel", "")
    ctx.file("setup.bzl", _SETUP.format(
        declare = Label(":declare.bzl"),
        locks = repr(json.encode(locks)),
    ))

_setup = repository_rule(
    implementation = _setup_impl,
    doc = "The second half of service_repositories, with the locks in it.",
    attrs = {
        "debian": attr.string(mandatory = True, doc = "Name of the hub of Debian packages."),
        "debian_lock": attr.label(mandatory = True, doc = "Its lock."),
        "pypi": attr.string(mandatory = True, doc = "Name of the hub of wheels."),
        "python_locks": attr.label_keyed_string_dict(mandatory = True, doc = "Its locks, to their architecture."),
    },
)

# buildifier: disable=unnamed-macro
def suite():
    """Declare @pinned_image_suite, where a WORKSPACE needs it before `service_repositories`."""
    if not native.existing_rule("pinned_image_suite"):
        debian_suite(name = "pinned_image_suite")

# buildifier: disable=unnamed-macro
def service_repositories(debian_lock, python_locks, debian = "debian", pypi = "pypi"):
    """Declare mirrors, rulesets, the interpreter and the hubs of the locks.

    Args:
      debian_lock: lock of Debian packages for images; `@<debian>//:<group>` has its packages.
      python_locks: locks of wheels for images, label to Debian's name of the architecture;
        `@<pypi>//:requirements.bzl` has their labels.
      debian: name of the hub of Debian packages.
      pypi: name of the hub of wheels.
    """
    suite()
    apt_mirrors(name = "pinned_image_mirrors")
    rulesets()
    facades()
    tool_repositories({debian: debian_lock})
    _setup(
        name = "pinned_image_setup",
        debian = debian,
        debian_lock = debian_lock,
        pypi = pypi,
        python_locks = python_locks,
    )
    native.register_toolchains(
        "@pinned_image_cpython//:toolchain",
        str(Label("//third_party/bazel:no_cc_toolchain")),
    )
