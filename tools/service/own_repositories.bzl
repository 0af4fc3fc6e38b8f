"""What only this repository declares: for its own tests, linters and release."""

load("//third_party/debian:servers.bzl", "test_servers")
load("//tools/apt:repositories.bzl", "deb_packages")
load("//tools/lint:repositories.bzl", "lint_sources")
load("//tools/proof:repositories.bzl", "declared_repositories")
load(":release_sources.bzl", "release_sources")

_DIRECTORIES = [
    "third_party",
    "tools",
]

def own_repositories():
    """Declares test servers, the sources for linters and the release, and the list of all that is declared."""
    test_servers()

    # Bazel's own packages as files, for a Bazel that a test starts without a network.
    deb_packages(
        name = "bazel_root",
        hub = "bazel_root",
        lock = "//third_party/bazel:root.lock.json",
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
