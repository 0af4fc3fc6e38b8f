"""`deb_packages`: a lock as repositories, one for each package, fetched when a target needs it.

The hub it makes has `@hub//:<group>` for each group of the lock, of the platform that is built for, and
`@hub//:<group>_<arch>` for one architecture; and `@hub//packages:<name>_<arch>` for each package. Its `groups.bzl`
has GROUPS, group → architecture → names of packages, for what a BUILD file derives from a package's name. Its
`<group>.lock.json` is the part of the lock that concerns one group, for `deb_tree`: a change elsewhere in the
lock leaves it, and so what was unpacked from it, as it is. `declare_deb_files` declares the packages' repositories.
Packages stay opaque .deb files: Bazel's own extraction would change owners, modes and links.
"""

load(":compile_tree.bzl", "PYTHON_ENVIRONMENT")
load(
    ":mirrors.bzl",
    "CPUS",
    "MIRRORS_ATTR",
    "PINS_ATTRS",
    "download_debs",
    "host_arch",
    "lock_command",
    "locked_packages",
    "missing_message",
)

# A new workspace has to load before its first lock can be made: an empty file pins nothing.
_EMPTY = '{"groups": {}, "image_groups": [], "packages": [], "snapshot": ""}'

def decode_lock(text):
    """Return what a lock of Debian packages says.

    Args:
      text: the lock's text; an empty one pins nothing.

    Returns:
      The decoded lock.
    """
    return json.decode(text.strip() or _EMPTY)

def _ask(ctx, tool, arguments, answer):
    """Write what a tool says of the lock and the mirrors into a file of the repository, and return it."""
    tool = ctx.path(tool)
    result = ctx.execute(
        [ctx.path(ctx.attr._python), tool] + arguments,
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": str(tool.dirname.dirname.dirname)},
        timeout = 600,
    )
    if result.return_code:
        fail("{}: {} failed:\n{}".format(ctx.name, tool, result.stderr))
    ctx.file(answer, result.stdout)
    ctx.file("BUILD.bazel", 'exports_files(["{}"])\n'.format(answer))
    return json.decode(result.stdout)

_ASK_ATTRS = MIRRORS_ATTR | {
    "lock": attr.label(mandatory = True, allow_single_file = True, doc = "The lock."),
    # Not the machine's: the one beside bazelw's Bazel has no HTTP.
    "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
}

def _deb_pins_impl(ctx):
    arguments = ["--replaced"] if ctx.attr.replaced else []
    missing = _ask(ctx, ctx.attr._pins, arguments + [ctx.path(ctx.attr.lock), ctx.path(ctx.attr._mirrors)], "pins.json")["missing"]
    if missing and ctx.attr.replaced:
        # Not an error: the build may need none of them.
        # buildifier: disable=print
        print("WARNING: " + missing_message(missing, ctx.attr.lock, lock_command(decode_lock(ctx.read(ctx.attr.lock)))))

deb_pins = repository_rule(
    implementation = _deb_pins_impl,
    doc = "Which files of a lock no mirror has any more, as pins.json.",
    attrs = _ASK_ATTRS | {
        "replaced": attr.bool(doc = "Ask only for what the archive has replaced, before the first download, and warn; else, when a file cannot be fetched, for every file."),
        # What pins.py imports; named, so that a change of it asks again.
        "_cli": attr.label(default = Label("//tools:cli.py"), allow_single_file = True),
        "_mirrors_py": attr.label(default = Label("//tools/apt:mirrors.py"), allow_single_file = True),
        "_pins": attr.label(default = Label("//tools/apt:pins.py"), allow_single_file = True),
        "_versions": attr.label(default = Label("//tools/apt:versions.py"), allow_single_file = True),
    },
    # Another state of the mirrors is asked for with `bazel sync --configure`.
    configure = True,
)

def _deb_floating_impl(ctx):
    # gpgv and the archive's keys, of our own lock: what verifies is pinned, and never floats.
    own = json.decode(ctx.read(ctx.attr._own_lock))
    arch = host_arch(ctx)
    signing = locked_packages(own, own["groups"]["signing"][arch], arch, ctx.attr._own_lock)
    debs = download_debs(ctx, signing, own, "signing/", ctx.attr._own_lock)
    files = [ctx.attr.lock, ctx.attr._mirrors, Label(ctx.attr.pins_json)] + debs
    _ask(ctx, ctx.attr._floating, [ctx.path(file) for file in files], "floating.json")

deb_floating = repository_rule(
    implementation = _deb_floating_impl,
    doc = "What the suites have instead of tools whose files are gone, as floating.json; asked under --config=float.",
    attrs = _ASK_ATTRS | {
        "pins_json": attr.string(mandatory = True, doc = "Label of the pins.json of the lock."),
        "_floating": attr.label(default = Label("//tools/apt:floating.py"), allow_single_file = True),
        "_own_lock": attr.label(default = Label("//third_party/debian:bookworm.lock.json"), allow_single_file = True),
    },
    configure = True,
)

def _deb_file_impl(ctx):
    package = {key: getattr(ctx.attr, key) for key in ["archive", "filename", "sha256", "snapshot"]}
    lock = {"command": ctx.attr.command, "in_image": [ctx.name] if ctx.attr.in_image else []}
    deb = download_debs(ctx, [package | {"name": ctx.name}], lock, "", ctx.attr.lock)[0]
    ctx.file("BUILD.bazel", "filegroup(name = \"deb\", srcs = [\"{}\"], visibility = [\"//visibility:public\"])\n".format(deb))

deb_file = repository_rule(
    implementation = _deb_file_impl,
    doc = "One .deb, as `:deb`. Declared by declare_deb_files.",
    attrs = MIRRORS_ATTR | PINS_ATTRS | {
        "archive": attr.string(mandatory = True, doc = "debian or debian-security."),
        "command": attr.string(mandatory = True, doc = "What makes the lock anew, for errors."),
        "filename": attr.string(mandatory = True, doc = "Path in the archive."),
        "in_image": attr.bool(mandatory = True, doc = "Whether the image has it; then nothing stands in for it."),
        "lock": attr.string(mandatory = True, doc = "The lock it comes from, for errors."),
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

def _image_names(lock):
    return {
        name: None
        for group in lock["image_groups"]
        for members in lock["groups"][group].values()
        for name in members
    }

def _group_lock(lock, group):
    by_arch = lock["groups"][group]
    names = {name: None for members in by_arch.values() for name in members}
    return json.encode_indent({
        "command": lock_command(lock),
        "groups": {group: by_arch},
        "in_image": sorted([name for name in names if name in _image_names(lock)]),
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

def declare_deb_files(hub, lock, label, name):
    """Declare a repository for each package of a lock.

    Args:
      hub: the name of the `deb_packages`.
      lock: the decoded lock.
      label: the lock's label, for errors.
      name: the hub's canonical name. This also declares `<hub>_replaced`, `<hub>_pins` and `<hub>_floating`.
    """
    deb_pins(name = hub + "_replaced", lock = label, replaced = True)
    deb_pins(name = hub + "_pins", lock = label)
    deb_floating(name = hub + "_floating", lock = label, pins_json = "@@{}_pins//:pins.json".format(name))
    in_image = _image_names(lock)
    for package in lock["packages"]:
        deb_file(
            name = _repo(hub, package["name"], package["arch"]),
            archive = package["archive"],
            command = lock_command(lock),
            filename = package["filename"],
            in_image = package["name"] in in_image,
            lock = label,
            pins_hub = "@@" + name,
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
