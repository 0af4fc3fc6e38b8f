"""`wheel_batch`: bring a lock's wheels into Bazel's repository cache with one pip instead of one each.

Starting pip costs a second, so an image's forty wheels would cost most of a minute. The repository itself
stays empty: each `wheel_file` of the lock then takes its file from the cache.
"""

load(":fetch_wheels.bzl", "FETCH_ATTRS", "fetch_wheels", "is_cached")

def _missing_wheels_impl(ctx):
    missing = []
    for line in ctx.attr.wheels:
        _, sha256, filename = line.split(" ")
        if not is_cached(ctx, filename, sha256):
            missing.append(line)
        ctx.delete(filename)
    ctx.file("missing.json", json.encode(missing))
    ctx.file("BUILD.bazel", "")

missing_wheels = repository_rule(
    implementation = _missing_wheels_impl,
    doc = """List in missing.json the wheels that the repository cache does not have.

A repository of its own, which never fails: when a fetch fails, Bazel prints a line for each file that this
repository took from the cache.""",
    attrs = {
        "wheels": attr.string_list(mandatory = True, doc = "name==version, sha256 and file name of each wheel, separated by spaces."),
    },
)

def _wheel_batch_impl(ctx):
    missing = []
    for line in json.decode(ctx.read(ctx.attr.missing)):
        pin, sha256, filename = line.split(" ")
        missing.append(struct(pin = pin, sha256 = sha256, filename = filename))
    if missing:
        fetch_wheels(ctx, missing)
    for wheel in missing:
        ctx.delete(wheel.filename)
    ctx.file("BUILD.bazel", "")

wheel_batch = repository_rule(
    implementation = _wheel_batch_impl,
    doc = "Fetches the wheels that a `missing_wheels` repository lists, together.",
    attrs = FETCH_ATTRS | {
        "missing": attr.label(mandatory = True, allow_single_file = True, doc = "missing.json of a `missing_wheels` repository."),
    },
)
