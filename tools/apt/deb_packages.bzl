"""`deb_packages`: a lock as repositories, one for each package, fetched when a target needs it.

The hub it makes has `@hub//:<group>` for each group of the lock, of the platform that is built for, and
`@hub//:<group>_<arch>` for one architecture; and `@hub//packages:<name>_<arch>` for each package. Its `groups.bzl`
has GROUPS, group → architecture → names of packages, for what a BUILD file derives from a package's name. Its
`<group>.lock.json` is the part of the lock that concerns one group, for `deb_tree`: a change elsewhere in the
lock leaves it, and so what was unpacked from it, as it is. `declare_deb_files` declares the packages' repositories.
Packages stay opaque .deb files: Bazel's own extraction would change owners, modes and links.
"""

load(":compile_tree.bzl", "PYTHON_ENVIRONMENT")
load(":mirrors.bzl", "CPUS", "MIRRORS_ATTR", "deb_urls", "fail_to_fetch", "lock_command", "without_credentials")

# A new workspace has to load before its first lock can be made: an empty file pins nothing.
_EMPTY = '{"groups": {}, "packages": [], "snapshot": ""}'

def decode_lock(text):
    """Return what a lock of Debian packages says.

    Args:
      text: the lock's text; an empty one pins nothing.

    Returns:
      The decoded lock.
    """
    return json.decode(text.strip() or _EMPTY)

def _deb_pins_impl(ctx):
    pins = ctx.path(ctx.attr._pins)
    result = ctx.execute(
        [ctx.path(ctx.attr._python), pins, ctx.path(ctx.attr.lock), ctx.path(ctx.attr._mirrors)],
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": str(pins.dirname.dirname.dirname)},
        timeout = 600,
    )
    if result.return_code:
        fail("{}: {} failed:\n{}".format(ctx.name, pins, result.stderr))
    ctx.file("pins.json", result.stdout)
    ctx.file("BUILD.bazel", 'exports_files(["pins.json"])\n')

deb_pins = repository_rule(
    implementation = _deb_pins_impl,
    doc = "Which files of a lock no mirror has any more, as pins.json; asked when one cannot be fetched.",
    attrs = MIRRORS_ATTR | {
        "lock": attr.label(mandatory = True, allow_single_file = True, doc = "The lock."),
        # What pins.py imports; named, so that a change of it asks again.
        "_cli": attr.label(default = Label("//tools:cli.py"), allow_single_file = True),
        "_mirrors_py": attr.label(default = Label("//tools/apt:mirrors.py"), allow_single_file = True),
        "_pins": attr.label(default = Label("//tools/apt:pins.py"), allow_single_file = True),
        # Not the machine's: the one beside bazelw's Bazel has no HTTP.
        "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
    },
)

_MISSING = """{count} files that {lock} pins are on no mirror any more:
  {lines}
Lock again with: {command}
Or set DEBIAN_MIRROR to a mirror that has them."""

def _fail_if_missing(ctx):
    """Tell all files of the lock that are gone, if this one is not there because it is gone.

    It is asked only now: on the way that everybody goes, a question for each file would cost seconds.
    """

    # Not a dependency: what a mirror has must not cause what was fetched to be fetched again.
    found = json.decode(ctx.read(ctx.path(Label(ctx.attr.pins)), watch = "no"))
    if ctx.attr.filename in found["missing"]:
        lines = sorted({line: None for line in found["missing"].values()})
        fail(_MISSING.format(
            command = ctx.attr.command,
            count = len(lines),
            lines = "\n  ".join(lines),
            lock = ctx.attr.lock,
        ))

def _deb_file_impl(ctx):
    mirrors = json.decode(ctx.read(ctx.attr._mirrors))
    urls, auth = without_credentials(deb_urls(mirrors, ctx.attr.archive, ctx.attr.filename, ctx.attr.snapshot))
    deb = ctx.attr.filename.rpartition("/")[2]

    if not ctx.download(urls, deb, sha256 = ctx.attr.sha256, allow_fail = True, auth = auth).success:
        _fail_if_missing(ctx)
        fail_to_fetch(ctx, ctx.attr.filename, ctx.attr.sha256, urls, ctx.attr.lock, ctx.attr.command)
    ctx.file("BUILD.bazel", "filegroup(name = \"deb\", srcs = [\"{}\"], visibility = [\"//visibility:public\"])\n".format(deb))

deb_file = repository_rule(
    implementation = _deb_file_impl,
    doc = "One .deb, as `:deb`. Declared by declare_deb_files.",
    attrs = MIRRORS_ATTR | {
        "archive": attr.string(mandatory = True, doc = "debian or debian-security."),
        "command": attr.string(mandatory = True, doc = "What makes the lock anew, for errors."),
        "filename": attr.string(mandatory = True, doc = "Path in the archive."),
        "lock": attr.string(mandatory = True, doc = "The lock it comes from, for errors."),
        "pins": attr.string(mandatory = True, doc = "Label of the pins.json of its lock."),
        "sha256": attr.string(mandatory = True, doc = "Hash of the file."),
        "snapshot": attr.string(mandatory = True, doc = "Timestamp for the permanent fallback."),
    },
)

def _repo(hub, package, arch):
    # Repository names allow no `+`, and Debian's package names no `_`.
    return "{}_{}_{}".format(hub, arch, package.replace("+", "_p"))

def _group_build(hub, lock):
    lines = [
        'package(default_visibility = ["//visibility:public"])',
        'exports_files(glob(["*.lock.json"]))',
    ]
    for group, by_arch in sorted(lock["groups"].items()):
        for arch, names in sorted(by_arch.items()):
            debs = ['"@{}//:deb"'.format(_repo(hub, name, arch)) for name in names]
            lines.append('filegroup(name = "{}_{}", srcs = [{}])'.format(group, arch, ", ".join(debs)))
        branches = ['"{}": ":{}_{}"'.format(CPUS[arch], group, arch) for arch in sorted(by_arch)]
        lines.append('alias(name = "{}", actual = select({{{}}}))'.format(group, ", ".join(branches)))
    return "\n".join(lines) + "\n"

def _group_lock(lock, group):
    by_arch = lock["groups"][group]
    return json.encode_indent({
        "command": lock_command(lock),
        "groups": {group: by_arch},
        "packages": [
            package
            for package in lock["packages"]
            if package["name"] in by_arch.get(package["arch"], [])
        ],
        "snapshot": lock["snapshot"],
    }, indent = "  ") + "\n"

def _package_build(hub, lock):
    lines = ['package(default_visibility = ["//visibility:public"])']
    for package in lock["packages"]:
        lines.append('alias(name = "{name}_{arch}", actual = "@{repo}//:deb")'.format(
            name = package["name"],
            arch = package["arch"],
            repo = _repo(hub, package["name"], package["arch"]),
        ))
    return "\n".join(lines) + "\n"

def declare_deb_files(hub, lock, label, pins):
    """Declare a repository for each package of a lock.

    Args:
      hub: the name of the `deb_packages`.
      lock: the decoded lock.
      label: the lock's label, for errors.
      pins: canonical name of the repository `<hub>_pins`, which this declares as well.
    """
    deb_pins(name = hub + "_pins", lock = label)
    for package in lock["packages"]:
        deb_file(
            name = _repo(hub, package["name"], package["arch"]),
            archive = package["archive"],
            command = lock_command(lock),
            filename = package["filename"],
            lock = label,
            pins = "@@{}//:pins.json".format(pins),
            sha256 = package["sha256"],
            snapshot = package.get("snapshot", lock["snapshot"]),
        )

def _deb_packages_impl(ctx):
    lock = decode_lock(ctx.read(ctx.attr.lock))
    ctx.file("BUILD.bazel", _group_build(ctx.attr.hub, lock))
    ctx.file("groups.bzl", "GROUPS = {}\n".format(repr(lock["groups"])))
    for group in lock["groups"]:
        ctx.file(group + ".lock.json", _group_lock(lock, group))
    ctx.file("packages/BUILD.bazel", _package_build(ctx.attr.hub, lock))

deb_packages = repository_rule(
    implementation = _deb_packages_impl,
    doc = "The hub of a lock of Debian packages.",
    attrs = {
        "hub": attr.string(mandatory = True, doc = "The name it is declared by; under bzlmod `ctx.name` is another."),
        "lock": attr.label(mandatory = True, allow_single_file = True, doc = "The lock."),
    },
)
