r"""Writes the layer of what maintainer scripts would have done, from all packages of an image.

    python3 -m tools.apt.system_layer --lock bookworm.lock.json --arch amd64 --deb libc6.deb ... \
        --user appuser:1000:1000:/app --out system.tar.gz --descriptor system.json

Same packages, lock and users, same bytes. What is done for which package and why is declared in
`maintainer_scripts.py`; this module carries it out, and adds the users.
"""

import argparse
import fnmatch
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.apt import ca_certificates, file_system, ld_cache, users
from tools.apt.deb_contents import Content, Member, Package, read_packages
from tools.apt.layer_policy import LayerPolicy, PolicyError, read_policy
from tools.apt.maintainer_scripts import (
    SCRIPTS,
    Action,
    Alternative,
    Build,
    Copy,
    Directory,
    Symlink,
    Text,
)
from tools.apt.paths import Exclusions
from tools.archive.deb import DebError
from tools.archive.layer import LayerError, LayerWriter, add_layer_flags
from tools.linux.architectures import ARCHITECTURES
from tools.wheels.bytecode import BytecodeError, Source, compile_all, pyc_path

_RUNS_AT_INSTALLATION = ("preinst", "postinst")
_LD_CONFIGURATION = ("etc/ld.so.conf", "etc/ld.so.conf.d/*.conf")
_COPIED = frozenset(
    action.source
    for script in SCRIPTS.values()
    for action in script.actions
    if isinstance(action, Copy)
)


class SystemLayerError(Exception):
    """Packages for which the layer cannot be made; the message names package, path and cause."""


@dataclass(frozen=True)
class Image:
    """All packages of an image: the files they have together, by path, and the architecture."""

    packages: tuple[Package, ...]
    members: Mapping[str, Member]
    architecture: str

    @property
    def triplet(self) -> str:
        """The architecture as paths of libraries spell it."""
        return ARCHITECTURES[self.architecture].triplet


def wanted_content(path: str) -> Content:
    """Says what of a package's file this layer is made from; most files are only counted."""
    if path in _COPIED or ca_certificates.is_source(path) or _is_library_source(path):
        return Content.ALL
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in _LD_CONFIGURATION):
        return Content.ALL
    return Content.SONAME if ld_cache.is_library_name(path) else Content.NOTHING


def gather(packages: Sequence[Package], *, architecture: str) -> Image:
    """Returns the packages as one image.

    Raises SystemLayerError for a package of another architecture, for one with a script that
    nobody has read, and when the package that carries the root's links is missing.
    """
    members: dict[str, Member] = {}
    for package in packages:
        if package.architecture not in (architecture, "all"):
            raise SystemLayerError(
                f"{package.source}: is for {package.architecture}, the layer for {architecture}"
            )
        scripts = [name for name in _RUNS_AT_INSTALLATION if name in package.control]
        if scripts and package.name not in SCRIPTS:
            raise SystemLayerError(
                f"{package.source}: package {package.name!r} has a {' and a '.join(scripts)}, and "
                "nobody has said what it does to the image; read it (dpkg-deb --control) and add "
                "an entry to tools/apt/maintainer_scripts.py"
            )
        members |= package.members
    if not any(package.name == file_system.CARRIER for package in packages):
        raise SystemLayerError(
            f"{file_system.CARRIER!r} is not among the packages, so the image would have no /bin, "
            "/lib and /sbin; add it to the lock's intent"
        )
    for path in file_system.VAR_LINKS:
        members.pop(path, None)
    return Image(tuple(packages), members, architecture)


def compose(
    image: Image, *, policy: LayerPolicy, accounts: Sequence[users.User], jobs: int | None = None
) -> LayerWriter:
    """Returns the layer, ready to be written; `jobs` changes no byte.

    Raises SystemLayerError when a declared action does not fit the packages, and the errors of the
    modules that build files.
    """
    layer = LayerWriter(mtime=policy.mtime)
    layer.add_file("etc/passwd", users.passwd(accounts), mode=0o644)
    layer.add_file("etc/group", users.group(accounts), mode=0o644)
    actions: dict[Action, str] = {}
    for package in image.packages:
        for action in SCRIPTS[package.name].actions if package.name in SCRIPTS else ():
            actions.setdefault(action, package.name)
    links: dict[str, str] = {}
    for action, name in actions.items():
        if isinstance(action, Build):
            continue
        links |= _links_of(action, image.triplet)
        _apply(action, layer, image, of=name)
    for path, target in links.items():
        layer.add_symlink(path, target)
    if Build.CA_BUNDLE in actions:
        _add_certificates(layer, image)
    if Build.PYTHON_BYTECODE in actions:
        _add_bytecode(layer, image, exclusions=policy.exclusions, jobs=jobs)
    if Build.LD_CACHE in actions:
        _add_ld_cache(layer, image, links)
    _keep_directories(layer, image)
    return layer


def _links_of(action: Action, triplet: str) -> dict[str, str]:
    if isinstance(action, Symlink):
        return {action.path: action.target}
    if isinstance(action, Alternative):
        link, name, path = (
            text.format(triplet=triplet) for text in (action.link, action.name, action.path)
        )
        return {link: f"/etc/alternatives/{name}", f"etc/alternatives/{name}": f"/{path}"}
    return {}


def _apply(action: Action, layer: LayerWriter, image: Image, *, of: str) -> None:
    if isinstance(action, Directory):
        layer.add_dir(action.path, mode=action.mode)
    elif isinstance(action, Text):
        layer.add_file(action.path, action.content.encode(), mode=0o644)
    elif isinstance(action, Copy):
        source = image.members.get(action.source)
        if source is None or source.data is None:
            raise SystemLayerError(
                f"{of}: /{action.source}, which its script copies to /{action.path}, is not a "
                "file of any package; correct tools/apt/maintainer_scripts.py"
            )
        layer.add_file(action.path, source.data, mode=0o644)
    elif isinstance(action, Alternative):
        path = action.path.format(triplet=image.triplet)
        if ld_cache.resolve(path, image.members) is None:
            raise SystemLayerError(
                f"{of}: /{path}, which its alternative {action.name!r} points to, is not a file of "
                "any package; correct tools/apt/maintainer_scripts.py"
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
    # Links are left out, that is sitecustomize.py: it is configuration below /etc, and whoever
    # edits it there would wonder why unchecked bytecode is run instead.
    sources = [
        Source(path=f"/{path}", data=member.data)
        for path, member in sorted(image.members.items())
        if member.data is not None and _is_library_source(path)
    ]
    if not sources:
        raise SystemLayerError(
            f"no standard library of Python {sys.version_info[0]}.{sys.version_info[1]} among the "
            "packages; bytecode fits one version, so run this tool with the image's"
        )
    sources = [
        source for source in sources if not exclusions.match(pyc_path(source.path).lstrip("/"))
    ]
    for source, compiled in zip(sources, compile_all(sources, jobs=jobs), strict=True):
        layer.add_file(pyc_path(source.path).lstrip("/"), compiled, mode=0o644)


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
    """Gives directories on the way the packages' modes, and refuses to overwrite their files.

    A directory entry of a higher layer replaces the lower one's owner and mode.
    """
    for entry in layer.entries():
        member = image.members.get(entry.path)
        if member is None:
            continue
        if entry.kind != "dir" or member.kind != "dir":
            raise SystemLayerError(
                f"/{entry.path}: a package ships it, so its script would not have made it; correct "
                "tools/apt/maintainer_scripts.py"
            )
        if layer.get(entry.path) is None:
            layer.add_dir(entry.path, mode=member.mode, uid=member.uid, gid=member.gid)


def main(argv: list[str] | None = None) -> int:
    """Builds the layer; prints one line and returns 1 when it cannot be."""
    parser = argparse.ArgumentParser(
        description="Write the image layer of what maintainer scripts would have done.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--lock", type=Path, required=True, help="lock or policy file of a lock")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument("--deb", type=Path, action="append", required=True, help="a package")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:UID:GID:/HOME")
    add_layer_flags(parser)
    options = parser.parse_args(argv)
    try:
        policy = read_policy(options.lock)
        accounts = [users.parse_user(text) for text in options.user]
        packages = read_packages(
            options.deb, exclusions=policy.exclusions, wants=wanted_content, jobs=options.jobs
        )
        image = gather(packages, architecture=options.arch)
        layer = compose(image, policy=policy, accounts=accounts, jobs=options.jobs)
        layer.write(options.out, options.descriptor, jobs=options.jobs, level=options.level)
    except (
        BytecodeError,
        DebError,
        LayerError,
        PolicyError,
        SystemLayerError,
        ca_certificates.CertificateError,
        ld_cache.LdCacheError,
        users.UserError,
        OSError,
    ) as error:
        print(f"system_layer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
