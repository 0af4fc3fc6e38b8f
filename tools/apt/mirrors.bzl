"""Where Debian packages are fetched from: one repository that knows, one function that asks it.

Locks hold archive-relative paths and hashes, never hosts. `apt_mirrors` asks `mirrors.py` once which
base URLs this machine uses (`DEBIAN_MIRROR`, else apt's sources) and every package repository reads
its answer, so that there is one place to look when a download goes wrong.
"""

load(":compile_tree.bzl", "PYTHON_ENVIRONMENT")

# Debian's architectures, as Bazel's platforms name their processors.
CPUS = {
    "amd64": "@platforms//cpu:x86_64",
    "arm64": "@platforms//cpu:aarch64",
}

SNAPSHOT = "https://snapshot.debian.org/archive"

_BUILD = 'exports_files(["mirrors.json"], visibility = ["//visibility:public"])\n'

def _apt_mirrors_impl(ctx):
    python = ctx.which("python3")
    if not python:
        fail("apt_mirrors: no python3 on PATH; Python 3.9 or newer is the one thing this build expects of a machine")
    root = ctx.path(ctx.attr._tool).dirname.dirname.dirname
    result = ctx.execute(
        # -S: a package `tools` among the machine's own modules must not be taken for ours.
        [python, "-S", ctx.path(ctx.attr._tool)],
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": str(root)},
    )
    if result.return_code:
        fail("apt_mirrors: {} failed:\n{}".format(ctx.attr._tool, result.stderr))
    ctx.file("mirrors.json", result.stdout)
    ctx.file("BUILD.bazel", _BUILD)

apt_mirrors = repository_rule(
    implementation = _apt_mirrors_impl,
    doc = "Writes mirrors.json: the base URLs of each Debian archive on this machine.",
    attrs = {
        # Imported by the tool; named, so that a change of it asks again.
        "_cli": attr.label(default = Label("//tools:cli.py"), allow_single_file = True),
        "_tool": attr.label(default = Label("//tools/apt:mirrors.py"), allow_single_file = True),
    },
    configure = True,
    environ = ["DEBIAN_MIRROR", "DEBIAN_SECURITY_MIRROR"],
)

MIRRORS_ATTR = {
    "_mirrors": attr.label(
        default = Label("@pinned_image_mirrors//:mirrors.json"),
        allow_single_file = True,
        doc = "The answer of apt_mirrors.",
    ),
}

def deb_urls(mirrors, archive, filename, snapshot):
    """List the URLs of a package, in the order to try.

    Args:
      mirrors: dict of archive name to base URLs, as in mirrors.json.
      archive: "debian" or "debian-security".
      filename: the package's path in the archive, as in its index.
      snapshot: the lock's timestamp, for the permanent fallback.

    Returns:
      A list of URLs; the last one is the permanent fallback.
    """
    bases = mirrors.get(archive, []) + ["/".join([SNAPSHOT, archive, snapshot])]

    # A `+` is literal in a path, but some proxies and object stores read it as a space.
    return ["{}/{}".format(base, filename.replace("+", "%2B")) for base in bases]

def _unquoted(text):
    # RFC 3986 2.1; Starlark has no chr(), JSON has the same thing.
    parts = text.split("%")
    return parts[0] + "".join([json.decode('"\\u00{}"'.format(part[:2])) + part[2:] for part in parts[1:]])

def without_credentials(urls):
    """Take user and password out of URLs, because Bazel prints the URL of a download that fails.

    Args:
      urls: a list of URLs.

    Returns:
      The URLs without them, and the dict that `ctx.download` wants as `auth`.
    """
    plain = []
    auth = {}
    for url in urls:
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        credentials, at, host = host.rpartition("@")
        plain.append(scheme + "://" + host + slash + path)
        if at:
            login, _, password = credentials.partition(":")
            auth[plain[-1]] = {"login": _unquoted(login), "password": _unquoted(password), "type": "basic"}
    return plain, auth

def lock_command(lock):
    """Return how to make a decoded lock anew, for errors.

    Args:
      lock: the decoded lock.

    Returns:
      The command that the lock names, or words for it.
    """
    return lock.get("command") or "the lock target beside it"

# Of repositories whose files may be gone: a lock names files that the archive has replaced since.
PINS_ATTRS = {
    "pins_hub": attr.string(
        doc = "The hub, with its @, whose repositories <hub>_replaced, <hub>_pins and <hub>_floating ask the mirrors; " +
              "empty where they cannot be asked, as below their own interpreter.",
    ),
}

_NOT_FETCHED = """{repo}: no mirror has {file} with sha256 {sha}, as pinned by {lock}; tried
  {urls}
(the warnings above give the cause of each failure). Check the network or set DEBIAN_MIRROR to a mirror that
has it; if the package has been superseded, lock again with: {command}{others}"""

_MISSING = """{lock} pins files that no mirror serves any more ({count}):
  {lines}
Lock again with: {command}
Or set DEBIAN_MIRROR to a mirror that has them{remark}."""

def missing_message(missing, lock, command, remark = ""):
    """Return what people are told of files that are gone.

    Args:
      missing: file → sentence, as pins.py prints them.
      lock: label of the lock.
      command: what makes that lock anew.
      remark: what more to say.
    """
    lines = sorted({line: None for line in missing.values()})
    return _MISSING.format(
        command = command,
        count = len(lines),
        lines = "\n  ".join(lines),
        lock = lock,
        remark = remark,
    )

def _answer(ctx, question, file):
    # Not a dependency: what a mirror has must not cause what was fetched to be fetched again.
    return json.decode(ctx.read(ctx.path(Label("{}_{}//:{}".format(ctx.attr.pins_hub, question, file))), watch = "no"))

def _stand_in(ctx, package, in_image, lock, command):
    """Return what to fetch instead of a file that no mirror has.

    Args:
      ctx: the repository_ctx.
      package: entry of the lock.
      in_image: whether the package is in the image.
      lock: label of the lock, for errors.
      command: what makes that lock anew.

    Returns:
      The entry of floating.json; None if the file is not known to be gone. Fails if nothing may stand in for it.
    """
    filename = package["filename"]
    missing = _answer(ctx, "replaced", "pins.json")["missing"]
    if filename not in missing:
        missing = _answer(ctx, "pins", "pins.json")["missing"]
    if filename not in missing:
        return None
    floats = ctx.getenv("DEBIAN_FLOAT") == "1"
    if not floats or in_image:
        fail(missing_message(missing, lock, command, "" if not floats else "; --config=float is for tools and tests, and {} is in the image, which has what is locked or is not built".format(filename.rpartition("/")[2])))
    found = _answer(ctx, "floating", "floating.json")
    if filename not in found:
        fail("{}: no suite has another version of {}; lock again with: {}".format(ctx.name, filename, command))

    # buildifier: disable=print
    print("WARNING: {} is on no mirror any more; --config=float takes {} of {} instead. {} stays as it is; renew it with: {}".format(
        filename.rpartition("/")[2],
        found[filename]["version"],
        found[filename]["suite"],
        lock,
        command,
    ))
    return found[filename]

def locked_packages(lock, names, arch, label):
    """Find packages in a decoded lock.

    Args:
      lock: the decoded lock (README.md in third_party/debian describes the format).
      names: package names.
      arch: "amd64" or "arm64".
      label: the lock's label, for the error.

    Returns:
      The packages' entries, in the order of `names`.
    """
    found = {package["name"]: package for package in lock["packages"] if package["arch"] == arch}
    missing = [name for name in names if name not in found]
    if missing:
        fail("{}: no package {} for {}; name it in the lock's intent and lock again with: {}".format(
            label,
            ", ".join(missing),
            arch,
            lock_command(lock),
        ))
    return [found[name] for name in names]

def _urls(mirrors, package, filename, lock):
    snapshot = package.get("snapshot") or lock["snapshot"]
    return without_credentials(deb_urls(mirrors, package["archive"], filename, snapshot))

def download_debs(ctx, packages, lock, directory, label):
    """Download packages at once and wait for all of them.

    Args:
      ctx: the repository_ctx; its rule must have MIRRORS_ATTR, and may have PINS_ATTRS.
      packages: entries of a lock.
      lock: the decoded lock.
      directory: where to put them, with a slash at its end; empty for the repository's root.
      label: label of the lock, for the error.

    Returns:
      The paths of the .deb files, in the order of `packages`.
    """
    mirrors = json.decode(ctx.read(ctx.attr._mirrors))
    asks = bool(getattr(ctx.attr, "pins_hub", ""))
    paths = [directory + package["filename"].rpartition("/")[2] for package in packages]
    wanted = zip(packages, paths)
    if asks:
        # Without a URL, only the repository cache is asked: what it has needs no mirror, and no question.
        wanted = [
            (package, path)
            for package, path in wanted
            if not ctx.download([], path, sha256 = package["sha256"], allow_fail = True).success
        ]
    if asks and wanted:
        # It says what the archive has replaced, before anything is downloaded.
        _answer(ctx, "replaced", "pins.json")
    jobs = []
    for package, path in wanted:
        urls, auth = _urls(mirrors, package, package["filename"], lock)
        pending = ctx.download(urls, path, sha256 = package["sha256"], allow_fail = True, auth = auth, block = False)
        jobs.append((package, urls, path, pending))
    failed = []
    for package, urls, path in [job[:3] for job in jobs if not job[3].wait().success]:
        in_image = package["name"] in lock.get("in_image", [])
        new = _stand_in(ctx, package, in_image, label, lock_command(lock)) if asks else None
        if new:
            urls, auth = _urls(mirrors, package, new["filename"], lock)
            ctx.download(urls, path, sha256 = new["sha256"], auth = auth)
        else:
            failed.append((package, urls))
    if failed:
        package, urls = failed[0]
        fail(_NOT_FETCHED.format(
            command = lock_command(lock),
            file = package["filename"],
            lock = label,
            others = "".join(["\nno mirror has {}, either".format(other["filename"]) for other, _ in failed[1:]]),
            repo = ctx.name,
            sha = package["sha256"],
            urls = "\n  ".join(urls),
        ))
    return paths

def host_arch(ctx):
    """Name the machine's architecture as Debian does, or fail.

    Args:
      ctx: the repository_ctx.

    Returns:
      "amd64" or "arm64".
    """
    arch = {"aarch64": "arm64", "amd64": "amd64", "arm64": "arm64", "x86_64": "amd64"}.get(ctx.os.arch)
    if ctx.os.name != "linux" or not arch:
        fail("this build runs on Linux on x86_64 or aarch64, and this is {} on {}".format(ctx.os.name, ctx.os.arch))
    return arch
