"""Asking the package index for wheels, from a repository rule."""

load("//tools/apt:compile_tree.bzl", "PYTHON_ENVIRONMENT")

FETCH_ATTRS = {
    "_cli": attr.label(default = Label("//tools:cli.py")),
    "_fetch_wheels": attr.label(default = Label("//tools/wheels:fetch_wheels.py")),
    "_pip": attr.label(default = "@pypi__pip//:BUILD.bazel"),
    "_pip_config": attr.label(default = Label("//tools/wheels:pip_config.py")),
    "_pip_settings": attr.label(default = Label("//tools/wheels:pip_settings.py")),
    "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
    "_workspace": attr.label(default = Label("//:BUILD.bazel")),
}

def is_cached(ctx, filename, sha256):
    """Put a file from Bazel's repository cache into the repository; returns whether it was there."""

    # Without a URL, Bazel asks only its cache. A repository that fails later on gets a line of output for each
    # hit: so ask from a repository that cannot fail any more once it has found something.
    return ctx.download([], filename, sha256 = sha256, allow_fail = True).success

def fetch_wheels(ctx, wheels):
    """Ask the index, by pip, and leaves the wheels in the repository and in Bazel's repository cache.

    Args:
      ctx: the repository_ctx of a rule with FETCH_ATTRS.
      wheels: structs with the fields pin, sha256 and filename.
    """
    ctx.report_progress("asking the package index for {}".format(
        wheels[0].filename if len(wheels) == 1 else "{} wheels".format(len(wheels)),
    ))
    result = ctx.execute(
        [
            ctx.path(ctx.attr._python),
            ctx.path(ctx.attr._fetch_wheels),
            "--pip={}".format(ctx.path(ctx.attr._pip).dirname),
            "--output={}".format(ctx.path("download")),
        ] + ["--wheel={} {} {}".format(wheel.pin, wheel.sha256, wheel.filename) for wheel in wheels],
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": str(ctx.path(ctx.attr._workspace).dirname)},
        timeout = 2400,
    )
    if result.return_code:
        fail("@{}: {}".format(ctx.name, result.stderr.strip() or result.stdout.strip()))

    # Through Bazel's own downloader, which compares the hash once more and fills the cache.
    for wheel in wheels:
        downloaded = ctx.path("download/" + wheel.filename)
        ctx.download("file://{}".format(downloaded), wheel.filename, sha256 = wheel.sha256)
    ctx.delete("download")
