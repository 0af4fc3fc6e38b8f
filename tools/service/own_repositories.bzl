"""What only this repository declares: for its own tests, linters and release."""

load("@pinned_image_suite//:defs.bzl", "wheels_lock")
load("//third_party/debian:servers.bzl", "conformance_programs", "test_servers")
load("//tools/lint:repositories.bzl", "lint_sources")
load(":example_files.bzl", "example_files")
load(":release_sources.bzl", "release_sources")

_DIRECTORIES = [
    "third_party",
    "tools",
]

# Programs of others, by the hub that has them: each in a lock of its own.
_PROGRAMS = {
    "checkov_pypi": wheels_lock("requirements_checkov", "amd64"),
    "conformance_pypi": wheels_lock("requirements_conformance", "amd64"),
}

_SETUP = """\
load("{declare}", "declare_libraries")
load("{declared}", "declared_repositories")

def own_setup():
    for hub, lock in json.decode({locks}).items():
        declare_libraries(hub, lock, together = True)
    declared_repositories(name = "declared")
"""

def _own_setup_impl(ctx):
    locks = {hub: {"label": str(label), "text": ctx.read(label)} for label, hub in ctx.attr.locks.items()}
    ctx.file("BUILD.bazel", "")
    ctx.file("setup.bzl", _SETUP.format(
        declare = Label(":declare.bzl"),
        declared = Label("//tools/proof:repositories.bzl"),
        locks = repr(json.encode(locks)),
    ))

_own_setup = repository_rule(
    implementation = _own_setup_impl,
    doc = "The second half of own_repositories, with the locks in it.",
    attrs = {"locks": attr.label_keyed_string_dict(mandatory = True, doc = "Lock of wheels → its hub.")},
)

def own_repositories():
    """Declare test servers and programs, the sources for linters and the release.

    `own_setup` of @own_setup//:setup.bzl declares the rest, and last the list of all that is declared.
    """
    test_servers()
    conformance_programs()

    # Labels in a directory that .bazelignore hides: to Bazel they are files of tools/service.
    example_files(
        name = "example_files",
        debian_locks = {
            "//third_party/bazel:root.lock.json": "rulesets",
            "//third_party/debian:bookworm.lock.json": "signing toolchain",
            "//tools/service:example/debian.lock.json": "base",
        },
        python_locks = {
            "//tools/service:example/requirements.{}.txt".format(arch): arch
            for arch in ["amd64", "arm64"]
        },
    )
    lint_sources(
        name = "lint_sources",
        directories = ["backend"] + _DIRECTORIES,
        files = ["README.md"],
        scripts = ["tools/bazelw"],
    )
    release_sources(
        name = "release_sources",
        directories = _DIRECTORIES,
        files = [
            "BUILD.bazel",
            "LICENSE",
            "README.md",
            "WORKSPACE",
        ],
    )
    _own_setup(
        name = "own_setup",
        locks = {lock: hub for hub, lock in _PROGRAMS.items()},
    )
