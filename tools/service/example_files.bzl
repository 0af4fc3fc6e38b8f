"""`example_files`: what a build of the example downloads, for a Bazel that a test starts without a network."""

load("//tools/apt:mirrors.bzl", "MIRRORS_ATTR", "download_debs", "host_arch", "locked_packages")
load("//tools/wheels:fetch_wheels.bzl", "FETCH_ATTRS", "fetch_wheels", "is_cached")
load("//tools/wheels:parse_wheel_lock.bzl", "parse_wheel_lock")

_BUILD = """\
filegroup(
    name = "all",
    srcs = glob(["debs/**/*.deb", "*.whl"]),
    visibility = ["//visibility:public"],
)
"""

def _example_files_impl(ctx):
    arch = host_arch(ctx)
    for label, groups in ctx.attr.debian_locks.items():
        lock = json.decode(ctx.read(label))
        names = {name: True for group in groups.split(" ") for name in lock["groups"][group][arch]}
        packages = locked_packages(lock, names.keys(), arch, label)
        download_debs(ctx, packages, lock, "debs/{}/".format(label.name), label)
    for label, lock_arch in ctx.attr.python_locks.items():
        if lock_arch == arch:
            wheels = [struct(**wheel) for wheel in parse_wheel_lock(ctx.read(label), label)]
            missing = [wheel for wheel in wheels if not is_cached(ctx, wheel.filename, wheel.sha256)]
            if missing:
                fetch_wheels(ctx, missing)
    ctx.file("BUILD.bazel", _BUILD)

example_files = repository_rule(
    implementation = _example_files_impl,
    doc = "Debian packages and wheels of locks, for the architecture of the machine that builds, as `:all`.",
    attrs = FETCH_ATTRS | MIRRORS_ATTR | {
        "debian_locks": attr.label_keyed_string_dict(doc = "Locks of Debian packages, to groups, separated by spaces."),
        "python_locks": attr.label_keyed_string_dict(doc = "Locks of wheels, to their architecture."),
    },
)
