"""`deb_tree`: programs from locked packages, unpacked for the build machine and started by their own loader.

Each program gets a launcher that runs it with the loader and the C library of its own packages, so that it
needs nothing of the machine, no LD_LIBRARY_PATH, and works in any root. Tools and tests use such programs;
layers are never made from an unpacked tree.
"""

load(":compile_tree.bzl", "COMPILE_ATTR", "compile_tree")
load(":deb_archive.bzl", "extract_deb")
load(":mirrors.bzl", "MIRRORS_ATTR", "PINS_ATTRS", "download_debs", "host_arch", "locked_packages")

_LOADERS = {
    "amd64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "arm64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}

# The real path: in a runfiles tree the launcher is a link, and its neighbours need not be there.
_LAUNCHER = """\
#!/bin/sh
self=$(readlink -f "$0")
root=${{self%/{launcher}}}
lib=$root/{lib}/{triplet}
{exports}exec "$lib/{loader}" --library-path "$lib:$root/usr/lib/{triplet}{extra}" --argv0 "$self" "$root/{program}" "$@"
"""

def _resolve(ctx, attribute, pattern):
    """Return the one path that a pattern with `*` stands for, such as usr/lib/postgresql/*/bin/initdb."""
    found = [""]
    for part in pattern.split("/"):
        prefix, star, suffix = part.partition("*")
        matches = []
        for parent in found:
            if not star:
                matches.append(parent + "/" + part)
                continue
            directory = ctx.path("." + parent)
            matches += [
                parent + "/" + entry.basename
                for entry in (directory.readdir() if directory.exists else [])
                if entry.basename.startswith(prefix) and entry.basename.endswith(suffix)
            ]
        found = matches
    found = [path[1:] for path in found if ctx.path("." + path).exists]
    if len(found) != 1:
        fail("@{}: '{}' names {}, which must be one path in the packages; found {}".format(
            ctx.name,
            attribute,
            pattern,
            ", ".join(found) or "none",
        ))
    return found[0]

def _run(ctx, command):
    result = ctx.execute(command)
    if result.return_code:
        fail("@{}: {} failed: {}".format(ctx.name, " ".join(command), result.stderr))

def _deb_tree_impl(ctx):
    lock = json.decode(ctx.read(ctx.attr.lock))
    arch = host_arch(ctx)
    unknown = [group for group in ctx.attr.groups if group not in lock["groups"]]
    if unknown:
        fail("{}: no group {}; it has {}".format(ctx.attr.lock, unknown[0], ", ".join(lock["groups"].keys())))
    names = [name for group in ctx.attr.groups for name in lock["groups"][group][arch]]
    packages = locked_packages(lock, names, arch, ctx.attr.lock)
    for deb in download_debs(ctx, packages, lock, "debs/", ctx.attr.lock):
        extract_deb(ctx, deb)
    ctx.delete("usr/share/doc")

    # A directory with a link to nowhere, such as one to the machine's time zone, cannot be an input of an action.
    _run(ctx, ["find", ".", "-type", "l", "!", "-exec", "test", "-e", "{}", ";", "-exec", "rm", "{}", "+"])
    triplet, loader = _LOADERS[arch]

    # Since Debian 13, packages ship in /usr what the root has links to.
    lib = [lib for lib in ["lib", "usr/lib"] if ctx.path("{}/{}/{}".format(lib, triplet, loader)).exists]
    for launcher, program in ctx.attr.launchers.items():
        program = _resolve(ctx, "launchers", program)
        launcher = program if "*" in launcher else launcher
        if launcher == program:
            program = launcher + ".elf"
            _run(ctx, ["mv", launcher, program])
        ctx.delete(launcher)  # A package may bring a link of that name; writing would go through it.
        ctx.file(launcher, _LAUNCHER.format(
            exports = "".join(["export {}={}\n".format(key, value) for key, value in ctx.attr.environment.items()]),
            extra = "".join([":$root/" + directory.format(triplet = triplet) for directory in ctx.attr.library_dirs]),
            launcher = launcher,
            lib = lib[0] if lib else "lib",
            loader = loader,
            program = program,
            triplet = triplet,
        ), executable = True)
        if "/" in launcher:
            _run(ctx, ["ln", "-s", launcher, launcher.rpartition("/")[2]])  # relative, unlike ctx.symlink's
    if ctx.attr.compiled_directories:
        compile_tree(ctx, ctx.path("python3"), [_resolve(ctx, "compiled_directories", path) for path in ctx.attr.compiled_directories])
    ctx.file("BUILD.bazel", ctx.read(ctx.attr.build_file))

deb_tree = repository_rule(
    implementation = _deb_tree_impl,
    doc = "Unpacks a group of a lock for the build machine and writes launchers for its programs.",
    attrs = COMPILE_ATTR | MIRRORS_ATTR | PINS_ATTRS | {
        "build_file": attr.label(mandatory = True, allow_single_file = True, doc = "The repository's BUILD file."),
        "compiled_directories": attr.string_list(
            doc = "Directories of Python modules whose bytecode the launcher `python3` writes; `*` as in `launchers`.",
        ),
        "environment": attr.string_dict(doc = "Variables that the launchers set; $root is the repository's root."),
        "groups": attr.string_list(mandatory = True, doc = "The lock's groups to unpack."),
        "launchers": attr.string_dict(
            mandatory = True,
            doc = "Launcher's path to program's path, which may be the same; the root gets a link to each launcher. " +
                  "A `*` in the program's path stands for what changes with its version.",
        ),
        "library_dirs": attr.string_list(doc = "More library directories; {triplet} is replaced."),
        "lock": attr.label(mandatory = True, allow_single_file = True, doc = "The lock."),
    },
)
