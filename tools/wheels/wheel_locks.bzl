"""`wheel_locks`: reads the wheel locks and declares what they pin.

For each hub there is the lock as rules_python's `pip_parse` reads it (`@<name>//:<hub>.txt`), and
`@<name>//:wheels.bzl` has the macro `wheel_repositories`, which declares a repository for each wheel.
"""

load("//tools/apt:mirrors.bzl", "host_arch")

_WHEELS_BZL = """\
load("@pinned_image//tools/wheels:wheel_repositories.bzl", "declare_library_hub", "declare_wheel_hub", "wheel_hub_alias")

def wheel_repositories():
    \"\"\"Declares a repository for each locked wheel; each is fetched when a target needs it.\"\"\"
{calls}
"""

_CALL = "    {macro}({arguments})"

_LOCK_AGAIN = "lock again with the command in the first lines of the lock"

def parse_wheel_lock(text, source):
    """Read a lock in the format that tools/wheels/lockfile.py writes.

    Args:
      text: the lock's text.
      source: names the lock in errors.

    Returns:
      A list of dictionaries with the keys name, requirement, pin, filename and sha256; `requirement` is
      the whole line with extras and hash, `pin` is name==version.
    """
    wheels = []
    filename = None
    line = None
    for raw in text.split("\n"):
        if raw.startswith("# wheel: "):
            filename = raw.removeprefix("# wheel: ")
        elif raw.endswith(" \\"):
            line = raw.removesuffix(" \\")
        elif raw.startswith("    --hash=sha256:"):
            if not filename or not line or "==" not in line:
                fail("{}: {} has no `# wheel:` comment and pin above it; {}".format(source, raw.strip(), _LOCK_AGAIN))
            full_name, _, version = line.partition("==")
            name = full_name.partition("[")[0]
            wheels.append({
                "filename": filename,
                "name": name,
                "pin": "{}=={}".format(name, version),
                "requirement": "{} {}".format(line, raw.strip()),
                "sha256": raw.strip().removeprefix("--hash=sha256:"),
            })
            filename = None
            line = None
        elif raw and not raw.startswith("#"):
            fail("{}: unexpected line {}; {}".format(source, repr(raw), _LOCK_AGAIN))
    return wheels

def _lock_for(ctx, locks, arch):
    for label, lock_arch in locks.items():
        if lock_arch == arch:
            return label
    fail("@{}: no lock for {} among {}".format(ctx.name, arch, locks.values()))

def _read_lock(ctx, hub, lock):
    """Leave the lock in the repository, for `pip_parse`, and returns its wheels."""
    text = ctx.read(lock)
    ctx.file(hub + ".txt", text)
    return parse_wheel_lock(text, str(lock))

def _call(macro, *arguments):
    return _CALL.format(macro = macro, arguments = ", ".join([repr(argument) for argument in arguments]))

def _wheel_locks_impl(ctx):
    host = host_arch(ctx)
    calls = []
    batched = []
    packages = {}
    for lock, arch in ctx.attr.image.items():
        hub = "{}_{}".format(ctx.attr.image_hub, arch)
        wheels = _read_lock(ctx, hub, lock)
        calls.append(_call("declare_wheel_hub", hub, wheels))
        packages[arch] = [wheel["name"] for wheel in wheels]
        if arch == host:
            batched = [wheel["sha256"] for wheel in wheels]
    calls.append(_call("wheel_hub_alias", ctx.attr.image_hub, packages))
    wheels = _read_lock(ctx, ctx.attr.tools_hub, _lock_for(ctx, ctx.attr.tools, host))
    calls.append(_call("declare_library_hub", ctx.attr.tools_hub, wheels, batched, "{}_{}".format(ctx.attr.image_hub, host)))
    ctx.file("wheels.bzl", _WHEELS_BZL.format(calls = "\n".join(calls)))
    ctx.file("BUILD.bazel", "exports_files(glob([\"*.txt\"]))\n")

wheel_locks = repository_rule(
    implementation = _wheel_locks_impl,
    doc = "Reads wheel locks, for `pip_parse` and for the repositories of the wheels.",
    attrs = {
        "image": attr.label_keyed_string_dict(mandatory = True, doc = "Locks of the image, to their architecture."),
        "image_hub": attr.string(mandatory = True, doc = "Name of the hub of the image's wheels."),
        "tools": attr.label_keyed_string_dict(mandatory = True, doc = "Locks of tools and tests, to their architecture."),
        "tools_hub": attr.string(mandatory = True, doc = "Name of the hub of the libraries of tools and tests."),
    },
)
