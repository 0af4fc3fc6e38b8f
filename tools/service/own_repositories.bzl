"""What only this repository declares: for its own tests, linters and release."""

load("//third_party/debian:servers.bzl", "conformance_programs", "test_servers")
load("//tools/lint:repositories.bzl", "lint_sources")
load("//tools/proof:repositories.bzl", "declared_repositories")
load(":example_files.bzl", "example_files")
load(":release_sources.bzl", "release_sources")

_DIRECTORIES = [
    "third_party",
    "tools",
]

def own_repositories():
    """Declare test servers and programs, the sources for linters and the release, and the list of all that is declared."""
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
    declared_repositories(name = "declared")
