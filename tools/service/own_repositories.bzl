"""What only this repository declares: for its own tests, linters and release."""

load("@pinned_image_suite//:defs.bzl", "DEFAULT_SUITE", "SUITE", "wheels_lock")
load("//third_party/debian:servers.bzl", "conformance_programs", "executors", "test_servers")
load("//tools/lint:repositories.bzl", "lint_sources")
load(":example_files.bzl", "example_files")
load(":release_sources.bzl", "release_sources")

_DIRECTORIES = [
    "third_party",
    "tools",
]

# Programs of others, by the repository that has them: each in a lock of its own.
_PROGRAMS = {
    "buildgrid_pypi": wheels_lock("requirements_buildgrid", "amd64"),
    "checkov_pypi": wheels_lock("requirements_checkov", "amd64"),
    "dvr_scan_pypi": wheels_lock("requirements_dvr_scan", "amd64"),
}

# The same, by their hub: each test needs one or two of them.
_HUBS = {
    "conformance_pypi": wheels_lock("requirements_conformance", "amd64"),
}

# The example is of the default suite whatever the suite here, and so are the libraries of the tools that make it; those of
# this suite are fetched anyway.
_EXAMPLE_WHEELS = ["//tools/service:example/requirements.{}.txt"] + (
    [] if SUITE == DEFAULT_SUITE else ["//third_party/python:requirements_dev.{}.txt"]
)

_SETUP = """\
load("{declare}", "declare_libraries")
load("{declared}", "declared_repositories")
load("{parse}", "parse_wheel_lock")
load("{program}", "declare_program")

def own_setup():
    for hub, lock in json.decode({hubs}).items():
        declare_libraries(hub, lock, together = True)
    for name, lock in json.decode({programs}).items():
        declare_program(name, parse_wheel_lock(lock["text"], lock["label"]))
    declared_repositories(name = "declared")
"""

def _own_setup_impl(ctx):
    hubs, programs = [
        repr(json.encode({name: {"label": str(label), "text": ctx.read(label)} for label, name in locks.items()}))
        for locks in (ctx.attr.hubs, ctx.attr.programs)
    ]
    ctx.file("BUILD.bazel", "")
    ctx.file("setup.bzl", _SETUP.format(
        declare = Label(":declare.bzl"),
        declared = Label("//tools/proof:repositories.bzl"),
        hubs = hubs,
        parse = Label("//tools/wheels:parse_wheel_lock.bzl"),
        program = Label("//tools/wheels:wheel_repositories.bzl"),
        programs = programs,
    ))

_own_setup = repository_rule(
    implementation = _own_setup_impl,
    doc = "The second half of own_repositories, with the locks in it.",
    attrs = {
        "hubs": attr.label_keyed_string_dict(mandatory = True, doc = "Lock of wheels → its hub."),
        "programs": attr.label_keyed_string_dict(mandatory = True, doc = "Lock of a program's wheels → its repository."),
    },
)

def own_repositories():
    """Declare test servers and programs, the sources for linters and the release.

    `own_setup` of @own_setup//:setup.bzl declares the rest, and last the list of all that is declared.
    """
    test_servers()
    conformance_programs()
    executors()

    # Labels in a directory that .bazelignore hides: to Bazel they are files of tools/service.
    example_files(
        name = "example_files",
        debian_locks = {
            "//third_party/bazel:root.lock.json": "rulesets",
            "//third_party/debian:bookworm.lock.json": "signing toolchain",
            "//tools/service:example/debian.lock.json": "base",
        },
        python_locks = {
            lock.format(arch): arch
            for lock in _EXAMPLE_WHEELS
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
        hubs = {lock: hub for hub, lock in _HUBS.items()},
        programs = {lock: name for name, lock in _PROGRAMS.items()},
    )
