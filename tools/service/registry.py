r"""Write a registry of Bazel modules: a release and Debian's rulesets in, a `file:` registry out.

    python3 -m tools.service.registry --release pinned_image-2.0.0.tar.gz --out registry

For builds with a MODULE.bazel that do not ask the central registry. It holds the release, and every
module that those built into Bazel 7.7.1 ask for: from the packages that tools/bazelw has downloaded
(or downloads now), and empty where Debian has none and nothing in it is used. It can be moved; the
release cannot, unless `--url` is where your builds fetch it.

Python 3.9 and the standard library alone, because nothing can be built before it is there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from tools.archive.deb import control_fields
from tools.archive.deb_extract import DebExtractor
from tools.bazel_root.launcher import LOCK, architecture, cache_directory, root_key
from tools.bazel_root.lockfile import parse_lock
from tools.bazel_root.prepare import prepare
from tools.cli import ToolError, tool


@dataclass(frozen=True)
class Module:
    """A module of the registry.

    version: what Bazel's own modules ask for, whatever version the package has.
    package, directory: where its files are; without a package it has an empty BUILD file alone.
    text: the rest of its MODULE.bazel. Upstream's registers toolchains, which would be downloaded,
        and has dependencies that only its own tests need.
    """

    name: str
    version: str
    package: str = ""
    directory: str = ""
    text: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def module_file(self) -> str:
        """Its MODULE.bazel."""
        return f'module(name = "{self.name}", version = "{self.version}")\n{self.text}'


def _deps(**versions: str) -> str:
    return "\n" + "".join(
        f'bazel_dep(name = "{name}", version = "{version}")\n' for name, version in versions.items()
    )


# `bazel mod graph` evaluates this extension; what it would download is never used.
_BUILDOZER = """\
def _empty_impl(ctx):
    ctx.file("BUILD.bazel", "")

_empty = repository_rule(implementation = _empty_impl)

def _buildozer_binary_impl(_ctx):
    _empty(name = "buildozer_binary")

buildozer_binary = module_extension(implementation = _buildozer_binary_impl)
"""

MODULES = (
    Module("apple_support", "1.23.1"),
    Module("buildozer", "7.1.2", files={"buildozer_binary.bzl": _BUILDOZER}),
    Module("protobuf", "3.19.6"),
    Module("zlib", "1.3.1.bcr.3"),
    Module(
        "bazel_features",
        "1.11.0",
        "bazel-features",
        "usr/share/bazel/tools/features",
        _deps(bazel_skylib="1.9.1")
        + 'version = use_extension("//private:extensions.bzl", "version_extension")\n'
        'use_repo(version, "bazel_features_globals", "bazel_features_version")\n',
    ),
    Module(
        "bazel_skylib",
        "1.9.1",
        "bazel-skylib",
        "usr/share/bazel/tools/skylib",
        _deps(platforms="0.0.9", rules_license="0.0.3"),
    ),
    # Named by the built-in local_config_platform; selection takes 0.0.9.
    Module("platforms", "0.0.7"),
    Module(
        "platforms",
        "0.0.9",
        "bazel-platforms",
        "usr/share/bazel/tools/platforms",
        _deps(rules_license="0.0.3")
        + 'host_platform = use_extension("//host:extension.bzl", "host_platform")\n'
        'use_repo(host_platform, "host_platform")\n',
    ),
    Module(
        "rules_cc",
        "0.0.11",
        "bazel-rules-cc",
        "usr/share/bazel/rules/cc",
        _deps(bazel_skylib="1.9.1", platforms="0.0.9")
        + 'cc_configure = use_extension("//cc:extensions.bzl", "cc_configure_extension")\n'
        'use_repo(cc_configure, "local_config_cc", "local_config_cc_toolchains")\n',
    ),
    Module(
        "rules_java",
        "7.6.5",
        "bazel-rules-java",
        "usr/share/bazel/rules/java",
        _deps(
            bazel_features="1.11.0",
            bazel_skylib="1.9.1",
            platforms="0.0.9",
            rules_cc="0.0.11",
            rules_license="0.0.3",
            rules_proto="4.0.0",
        )
        + 'toolchains = use_extension("//java:extensions.bzl", "toolchains")\n'
        'use_repo(toolchains, "local_jdk", "remote_java_tools", "remote_java_tools_linux")\n',
    ),
    Module("rules_license", "0.0.3", "bazel-rules-license", "usr/share/bazel/rules/license"),
    Module(
        "rules_proto",
        "4.0.0",
        "bazel-rules-proto",
        "usr/share/bazel/rules/proto",
        _deps(bazel_features="1.11.0", bazel_skylib="1.9.1", rules_license="0.0.3"),
    ),
    # For py_library and its like; its pip extension downloads from fixed addresses.
    Module(
        "rules_python",
        "0.22.1",
        "bazel-rules-python",
        "usr/share/bazel/rules/python",
        _deps(bazel_skylib="1.9.1", platforms="0.0.9"),
    ),
)
_SOURCES = "sources"


def write_registry(out: Path, *, debs: Iterable[Path], release: Path, url: str) -> None:
    """Write the registry to `out`, a new directory; raise ToolError if a package is missing."""
    packages = {control_fields(deb)["package"]: deb for deb in debs}
    for module in MODULES:
        if module.package and module.package not in packages:
            raise ToolError(
                f"no package {module.package}, which module {module.name} is made of; name it "
                "with --deb"
            )
    name, version, text = _module_of_release(release)
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise ToolError(f"{out}: exists already; remove it or choose another --out") from None
    _write_json(out / "bazel_registry.json", {"module_base_path": _SOURCES})
    for module in MODULES:
        _declare(
            out,
            name=module.name,
            version=module.version,
            text=module.module_file,
            source={"type": "local_path", "path": f"{module.name}/{module.version}"},
        )
        _write_source(out / _SOURCES / module.name / module.version, module, packages)
    digest = base64.b64encode(hashlib.sha256(release.read_bytes()).digest()).decode()
    source = {
        "type": "archive",
        "url": url or release.resolve().as_uri(),
        "integrity": f"sha256-{digest}",
        "strip_prefix": f"{name}-{version}",
    }
    _declare(out, name=name, version=version, text=text, source=source)


def bazelw_packages(environ: Mapping[str, str]) -> list[Path]:
    """Return the packages of the rulesets in bazelw's cache, which is filled if need be."""
    cache, arch = cache_directory(environ), architecture(sys.platform, os.uname().machine)
    root = cache / "roots" / root_key(arch)
    if not root.is_dir():
        prepare(root, cache=cache, arch=arch, lock_file=LOCK, environ=environ)
    lock = parse_lock(LOCK.read_text(encoding="utf-8"), arch=arch, of=LOCK)
    wanted = {module.package for module in MODULES}
    return [
        cache / "debs" / f"{package.sha256}.deb"
        for package in lock.packages
        if package.name in wanted
    ]


def _module_of_release(release: Path) -> tuple[str, str, str]:
    """Return name and version, as the archive's one directory has them, and its MODULE.bazel."""
    try:
        with tarfile.open(release, "r:gz") as archive:
            for member in archive:
                top, _, path = member.name.partition("/")
                if path == "MODULE.bazel" and member.isfile():
                    name, _, version = top.rpartition("-")
                    # Of a file, extractfile always returns a stream.
                    content = cast("IO[bytes]", archive.extractfile(member)).read()
                    return name, version, content.decode()
    except tarfile.TarError as error:
        raise ToolError(f"{release}: is not a .tar.gz archive: {error}") from error
    raise ToolError(
        f"{release}: has no MODULE.bazel; make it with `bazel build //tools/service:release`"
    )


def _write_source(directory: Path, module: Module, packages: Mapping[str, Path]) -> None:
    directory.mkdir(parents=True)
    if module.package:
        prefix = module.directory + "/"

        def place(name: str) -> str:
            return name[len(prefix) :] if name.startswith(prefix) else ""

        DebExtractor(directory, place=place).extract(packages[module.package])
        return
    for name, text in {
        "BUILD.bazel": "",
        "MODULE.bazel": module.module_file,
        **module.files,
    }.items():
        (directory / name).write_text(text, encoding="utf-8")


def _declare(out: Path, *, name: str, version: str, text: str, source: Mapping[str, str]) -> None:
    directory = out / "modules" / name / version
    directory.mkdir(parents=True)
    (directory / "MODULE.bazel").write_text(text, encoding="utf-8")
    _write_json(directory / "source.json", source)


def _write_json(path: Path, content: Mapping[str, str]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@tool("registry")
def main(argv: list[str] | None = None) -> None:
    """Write the registry and print the line for a .bazelrc."""
    parser = argparse.ArgumentParser(
        prog="registry", description="Write a file: registry of Bazel modules."
    )
    parser.add_argument("--release", type=Path, required=True, help="pinned_image-VERSION.tar.gz")
    parser.add_argument("--out", type=Path, required=True, help="the registry, a new directory")
    parser.add_argument("--url", default="", help="where builds fetch the release (default: here)")
    parser.add_argument(
        "--deb",
        type=Path,
        action="append",
        help="a ruleset's package, repeatable (default: those of tools/bazelw)",
    )
    options = parser.parse_args(argv)
    debs = options.deb or bazelw_packages(os.environ)
    write_registry(options.out, debs=debs, release=options.release, url=options.url)
    print(f"common --registry={options.out.resolve().as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
