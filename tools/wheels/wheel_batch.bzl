"""`wheel_batch`: brings a lock's wheels into Bazel's repository cache with one pip instead of one each.

Starting pip costs a second, so an image's forty wheels would cost most of a minute. The repository itself
stays empty: each `wheel_file` of the lock then takes its file from the cache.
"""

load(":fetch_wheels.bzl", "FETCH_ATTRS", "fetch_wheels", "is_cached")

def _wheel_batch_impl(ctx):
    missing = []
    for line in ctx.attr.wheels:
        pin, sha256, filename = line.split(" ")
        if not is_cached(ctx, filename, sha256):
            missing.append(struct(pin = pin, sha256 = sha256, filename = filename))
        ctx.delete(filename)
    if missing:
        fetch_wheels(ctx, missing)
    for wheel in missing:
        ctx.delete(wheel.filename)
    ctx.file("BUILD.bazel", "")

wheel_batch = repository_rule(
    implementation = _wheel_batch_impl,
    doc = "Fetches the wheels of a lock that the repository cache does not have, together.",
    attrs = FETCH_ATTRS | {
        "wheels": attr.string_list(mandatory = True, doc = "name==version, sha256 and file name of each wheel, separated by spaces."),
    },
)
