r"""Write the layer of what maintainer scripts would have done, from all packages of an image.

    python3 -m tools.apt.system_layer --lock bookworm.lock.json --arch amd64 \
        --listing base.debs.json --maintainer-scripts maintainer_scripts.yaml \
        --user appuser:1000:1000:/app --out system.tar.gz --descriptor system.json

The same packages, lock, declarations and users give the same bytes. The listings are those that
`deb_layer` writes of an image's packages. What is done for which package,
and why, is data (`maintainer_scripts.py` reads it); this module carries it out and adds the users.
"""

import argparse
import fnmatch
import functools
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.apt import ca_certificates, file_system, ld_cache, users
from tools.apt.deb_contents import Content, Member, Package, is_library_name
from tools.apt.deb_listing import read_listed
from tools.apt.layer_policy import LayerPolicy, read_policy
from tools.apt.maintainer_scripts import (
    Action,
    Alternative,
    Build,
    Copy,
    Directory,
    File,
    Scripts,
    links_of,
    read_scripts,
)
from tools.archive.bytecode import Source, compile_all, pyc_path
from tools.archive.globs import Exclusions
from tools.archive.layer import LayerWriter, add_layer_flags
from tools.cli import ToolError, tool
from tools.linux.architectures import ARCHITECTURES

_RUNS_AT_INSTALLATION = ("preinst", "postinst")
_LD_CONFIGURATION = ("etc/ld.so.conf", "etc/ld.so.conf.d/*.conf")


@dataclass(frozen=True)
class Image:
    """All packages of an image: the files they have together, by path, and the architecture.

    `scripts` says what is done for each package.
    """

    packages: tuple[Package, ...]
    members: Mapping[str, Member]
    architecture: str
    scripts: Scripts

    @property
    def triplet(self) -> str:
        """The architecture as paths of libraries spell it."""
        return ARCHITECTURES[self.architecture].triplet


def wanted_content(path: str, *, copied: Collection[str]) -> Content:
    """Return what of a package's file this layer is made from; most files are only counted."""
    if path in copied or ca_certificates.is_source(path) or _is_library_source(path):
        return Content.ALL
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in _LD_CONFIGURATION):
        return Content.ALL
    return Content.SONAME if is_library_name(path) else Content.NOTHING


def gather(packages: Sequence[Package], *, architecture: str, scripts: Scripts) -> Image:
    """Return the packages as one image.

    Raise ToolError for a package of another architecture, for one with a script that no
    declaration covers, and when the package that carries the root's links is missing.
    """
    members: dict[str, Member] = {}
    for package in packages:
        if package.architecture not in (architecture, "all"):
            raise ToolError(
                f"{package.source}: is for {package.architecture}, the layer for {architecture}"
            )
        unread = [name for name in _RUNS_AT_INSTALLATION if name in package.control]
        if unread and scripts.key(package.name) is None:
            raise ToolError(_unread(package, unread, files=scripts.files))
        members |= package.members
    if not any(package.name == file_system.CARRIER for package in packages):
        raise ToolError(
            f"{file_system.CARRIER!r} is not among the packages, so the image would have no /bin, "
            "/lib and /sbin; add it to the lock's intent"
        )
    for path in file_system.VAR_LINKS:
        members.pop(path, None)
    return Image(tuple(packages), members, architecture, scripts)


def _unread(package: Package, found: Sequence[str], *, files: Sequence[Path]) -> str:
    names = " and ".join(str(path) for path in files)
    verb = "says" if len(files) == 1 else "say"
    cause = f"{names} {verb} nothing about it" if files else "no file says what to do for it"
    # An adopter of these rules cannot edit a file of this repository.
    own = [path for path in files if "external" not in path.parts[:1]]
    place = own[-1] if own else "a YAML file of yours, the last of maintainer_scripts"
    return (
        f"{package.source}: package {package.name!r} has a {' and a '.join(found)}, and {cause}; "
        "read the script (dpkg-deb --control) and add "
        f"'{package.name}: {{does: …, actions: […], reason: …}}' to {place}"
    )


def compose(
    image: Image, *, policy: LayerPolicy, accounts: Sequence[users.User], jobs: int | None = None
) -> LayerWriter:
    """Return the layer, ready to be written; `jobs` changes no byte.

    Raise ToolError when a declared action does not fit the packages, and the errors of the
    modules that build files.
    """
    layer = LayerWriter(mtime=policy.mtime)
    layer.add_file("etc/passwd", users.passwd(accounts), mode=0o644)
    layer.add_file("etc/group", users.group(accounts), mode=0o644)
    actions: dict[Action, str] = {}
    for package in image.packages:
        for action in image.scripts.actions(package.name):
            actions.setdefault(action, package.name)
    links: dict[str, str] = {}
    builds = {action.build for action in actions if isinstance(action, Build)}
    for action, name in actions.items():
        links |= links_of(action, triplet=image.triplet)
        _apply(action, layer, image, of=name)
    for path, target in links.items():
        layer.add_symlink(path, target)
    if "ca_bundle" in builds:
        _add_certificates(layer, image)
    if "python_bytecode" in builds:
        _add_bytecode(layer, image, exclusions=policy.exclusions, jobs=jobs)
    if "ld_cache" in builds:
        _add_ld_cache(layer, image, links)
    _keep_directories(layer, image)
    return layer


def _apply(action: Action, layer: LayerWriter, image: Image, *, of: str) -> None:
    if isinstance(action, Directory):
        layer.add_dir(action.path, mode=action.mode)
    elif isinstance(action, File):
        layer.add_file(action.path, action.content.encode(), mode=0o644)
    elif isinstance(action, Copy):
        source = image.members.get(action.source)
        if source is None or source.data is None:
            raise ToolError(
                f"{of}: /{action.source}, which its script copies to /{action.path}, is not a "
                f"file of any package; correct the entry in {image.scripts.origin(of)}"
            )
        layer.add_file(action.path, source.data, mode=0o644)
    elif isinstance(action, Alternative):
        path = action.path.replace("{triplet}", image.triplet)
        if ld_cache.resolve(path, image.members) is None:
            raise ToolError(
                f"{of}: /{path}, which its alternative {action.name!r} points to, is not a file of "
                f"any package; correct the entry in {image.scripts.origin(of)}"
            )


def _add_certificates(layer: LayerWriter, image: Image) -> None:
    certificates = {
        path: member.data
        for path, member in image.members.items()
        if member.data is not None and ca_certificates.is_source(path)
    }
    layer.add_file(ca_certificates.BUNDLE, ca_certificates.bundle(certificates), mode=0o644)
    for path, target in ca_certificates.links(certificates).items():
        layer.add_symlink(path, target)


def _is_library_source(path: str) -> bool:
    major, minor = sys.version_info[:2]
    return path.startswith(f"usr/lib/python{major}.{minor}/") and path.endswith(".py")


def _add_bytecode(
    layer: LayerWriter, image: Image, *, exclusions: Exclusions, jobs: int | None
) -> None:
    # Skip links, that is sitecustomize.py: it is configuration below /etc, and with unchecked
    # bytecode an edit of it would have no effect.
    sources = [
        Source(path=f"/{path}", data=member.data)
        for path, member in sorted(image.members.items())
        if member.data is not None and _is_library_source(path)
    ]
    if not sources:
        raise ToolError(
            f"no standard library of Python {sys.version_info[0]}.{sys.version_info[1]} among the "
            "packages; bytecode fits one version, so run this tool with the image's"
        )
    sources = [
        source for source in sources if not exclusions.match(pyc_path(source.path).lstrip("/"))
    ]
    for path, compiled in compile_all(sources, jobs=jobs).items():
        layer.add_file(path.lstrip("/"), compiled, mode=0o644)


def _add_ld_cache(layer: LayerWriter, image: Image, links: Mapping[str, str]) -> None:
    made = {
        path: Member(path=path, kind="symlink", mode=0o777, uid=0, gid=0, target=target)
        for path, target in links.items()
    }
    members = {**image.members, **made}
    configuration = {
        path: member.data
        for path, member in image.members.items()
        if member.data is not None
        and any(fnmatch.fnmatchcase(path, pattern) for pattern in _LD_CONFIGURATION)
    }
    libraries = ld_cache.find_libraries(
        members,
        directories=ld_cache.configured_directories(configuration),
        architecture=image.architecture,
    )
    for path, target in ld_cache.missing_links(libraries, members).items():
        layer.add_symlink(path, target)
    content = ld_cache.cache_bytes(libraries, architecture=image.architecture)
    layer.add_file("etc/ld.so.cache", content, mode=0o644)


def _keep_directories(layer: LayerWriter, image: Image) -> None:
    """Give parent directories the packages' modes, and refuse to overwrite packaged files.

    A directory entry of a higher layer replaces the lower one's owner and mode.
    """
    for entry in layer.entries():
        member = image.members.get(entry.path)
        if member is None:
            continue
        if entry.kind != "dir" or member.kind != "dir":
            raise ToolError(
                f"/{entry.path}: a package ships it, so no script would have made it; correct "
                f"{' or '.join(str(path) for path in image.scripts.files)}"
            )
        if layer.get(entry.path) is None:
            layer.add_dir(entry.path, mode=member.mode, uid=member.uid, gid=member.gid)


@tool("system_layer")
def main(argv: list[str] | None = None) -> None:
    """Build the layer; print one line and return 1 when it cannot be."""
    parser = argparse.ArgumentParser(
        description="Write the image layer of what maintainer scripts would have done.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--lock", type=Path, required=True, help="lock or policy file of a lock")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument(
        "--listing",
        type=Path,
        action="append",
        required=True,
        help="of a layer of the image's packages",
    )
    parser.add_argument(
        "--maintainer-scripts",
        type=Path,
        action="append",
        default=[],
        metavar="YAML",
        help="what to do for packages with scripts; later files override earlier ones",
    )
    parser.add_argument("--user", action="append", default=[], metavar="NAME:UID:GID:/HOME")
    add_layer_flags(parser)
    options = parser.parse_args(argv)
    policy = read_policy(options.lock)
    accounts = [users.parse_user(text) for text in options.user]
    scripts = read_scripts(options.maintainer_scripts)
    packages = read_listed(
        options.listing,
        excluded=policy.excluded_globs,
        wants=functools.partial(wanted_content, copied=scripts.copied()),
        jobs=options.jobs,
    )
    image = gather(packages, architecture=options.arch, scripts=scripts)
    layer = compose(image, policy=policy, accounts=accounts, jobs=options.jobs)
    layer.write(options.out, options.descriptor, jobs=options.jobs, level=options.level)


if __name__ == "__main__":
    sys.exit(main())
