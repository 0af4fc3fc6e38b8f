"""Unpack a wheel as a Python library, with the BUILD file that rules_python gives it.

    unpack_library.py --wheel FILE --requirement NAME==1.0 --repo-prefix HUB_ --annotation FILE

A repository rule runs this in the repository, with rules_python and what its wheel installer
imports on Python's path. The installer's own command asks pip for the wheel first, which takes
longer than all of this; here the wheel is at hand, and its hash has been compared.
"""

from __future__ import annotations

import argparse
import importlib
import sys


def main(argv: list[str] | None = None) -> None:
    """Write the library into the working directory."""
    parser = argparse.ArgumentParser(description="Unpack a wheel as a Python library.")
    parser.add_argument("--annotation", required=True, help="package_annotation() as JSON")
    parser.add_argument("--repo-prefix", required=True, help="before each name of a dependency")
    parser.add_argument("--requirement", required=True, help="the wheel's line in the lock")
    parser.add_argument("--wheel", required=True, help="the wheel's file")
    arguments = parser.parse_args(argv)
    # The installer needs one class of setuptools' module, and the rest of that is slow to load.
    sys.modules["pkg_resources"] = importlib.import_module("pip._vendor.packaging.requirements")
    tools = "python.pip_install.tools"  # rules_python's, which no linter sees
    installer = importlib.import_module(f"{tools}.wheel_installer.wheel_installer")
    annotation = importlib.import_module(f"{tools}.lib.annotation")
    parse, extract = installer._parse_requirement_for_extra, installer._extract_wheel  # noqa: SLF001 - what its main() calls after pip
    name, extras = parse(arguments.requirement)
    extract(
        wheel_file=arguments.wheel,
        extras={name: extras} if name and extras else {},
        pip_data_exclude=[],
        enable_implicit_namespace_pkgs=True,
        repo_prefix=arguments.repo_prefix,
        annotation=annotation.annotation_from_str_path(arguments.annotation),
    )


if __name__ == "__main__":
    main()
