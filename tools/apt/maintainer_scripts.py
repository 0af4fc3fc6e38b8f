"""What maintainer scripts would have done in an image, and what is done instead: YAML → models.

    libblas3:
      does: makes the alternative libblas.so.3
      actions:
        - alternative: libblas.so.3-{triplet}
          link: usr/lib/{triplet}/libblas.so.3
          path: usr/lib/{triplet}/blas/libblas.so.3

No script runs. Each package with a preinst or postinst needs an entry, written by somebody who read
the script: `does` is what it would do at a first installation, `actions` what `system_layer` does
for it, and `reason` why that is less. The actions:

    {directory: PATH, mode: "0755"}              makes a directory
    {symlink: PATH, target: TEXT}                makes a symbolic link
    {file: PATH, content: TEXT}                  writes a file, 0644
    {copy: PATH, to: PATH}                       copies a packaged file, 0644
    {alternative: NAME, link: PATH, path: PATH}  as `update-alternatives --install /LINK NAME /PATH`
    {build: ld_cache}                            etc/ld.so.cache, as ldconfig writes it
    {build: ca_bundle}                           etc/ssl/certs of the certificate authorities
    {build: python_bytecode}                     __pycache__ of the standard library

Everything is root's. Paths are relative to the root; `{triplet}` in an alternative is the
architecture's multiarch name, such as x86_64-linux-gnu. A package's name may be a glob, such as
`python3.*-minimal`; of several that match, the longest counts. `{python}` in the actions of such an
entry is the python3.N in the package's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)

from tools.apt.yaml_model import Model, Text, read_yaml

RelativePath = Annotated[str, StringConstraints(pattern=r"^[^/\s]")]


def _octal(mode: Any) -> int:
    # YAML reads 0755 without quotes as a number, and another one than 1777.
    if not isinstance(mode, str) or not re.fullmatch("[0-7]{3,4}", mode):
        raise ValueError(f'wanted a mode in quotes such as "0755", found {mode!r}')
    return int(mode, 8)


class Directory(Model):
    """A directory that a script makes."""

    path: RelativePath = Field(alias="directory")
    mode: Annotated[int, BeforeValidator(_octal)] = 0o755


class Symlink(Model):
    """A symbolic link that a script makes."""

    path: RelativePath = Field(alias="symlink")
    target: Text


class File(Model):
    """A file that a script writes."""

    path: RelativePath = Field(alias="file")
    content: str


class Copy(Model):
    """A file that a script copies from where its package has it."""

    source: RelativePath = Field(alias="copy")
    path: RelativePath = Field(alias="to")


class Alternative(Model):
    """What update-alternatives would link: two links, by the name in /etc/alternatives."""

    name: Text = Field(alias="alternative")
    link: RelativePath
    path: RelativePath


class Build(Model):
    """What takes more than a line; `system_layer` has a function for each."""

    build: Literal["ca_bundle", "ld_cache", "python_bytecode"]


_KINDS = ("alternative", "build", "copy", "directory", "file", "symlink")


def _kind(action: Any) -> str | None:
    found = [kind for kind in _KINDS if isinstance(action, dict) and kind in action]
    return found[0] if len(found) == 1 else None


Action = Annotated[
    Annotated[Alternative, Tag("alternative")]
    | Annotated[Build, Tag("build")]
    | Annotated[Copy, Tag("copy")]
    | Annotated[Directory, Tag("directory")]
    | Annotated[File, Tag("file")]
    | Annotated[Symlink, Tag("symlink")],
    Discriminator(
        _kind,
        custom_error_type="action",
        custom_error_message=f"not an action; it needs exactly one of {', '.join(_KINDS)}",
    ),
]


class Script(Model):
    """What a package's scripts do and what is done for them; `reason` where that is less."""

    does: Text
    actions: tuple[Action, ...] = ()
    reason: Text | None = None

    @model_validator(mode="after")
    def _explained(self) -> Script:
        if not self.actions and self.reason is None:
            raise ValueError("has no actions and no reason; say why nothing is done")
        return self


_FILE = TypeAdapter(dict[str, Script])
_PYTHON = "{python}"
_PYTHON_PACKAGE = re.compile(r"python3\.\d+")


def links_of(action: Action, *, triplet: str) -> dict[str, str]:
    """Return the symbolic links of an action, path → target; `triplet` is a multiarch name."""
    if isinstance(action, Symlink):
        return {action.path: action.target}
    if isinstance(action, Alternative):
        link, name, path = (
            text.replace("{triplet}", triplet) for text in (action.link, action.name, action.path)
        )
        return {link: f"/etc/alternatives/{name}", f"etc/alternatives/{name}": f"/{path}"}
    return {}


@dataclass(frozen=True)
class Scripts:
    """The entries of some files, by package, and the file each comes from."""

    entries: Mapping[str, Script]
    origins: Mapping[str, Path]
    files: tuple[Path, ...] = ()

    def key(self, package: str) -> str | None:
        """Return the name of a package's entry, or None; its own name comes before a glob."""
        if package in self.entries:
            return package
        return max(
            (key for key in self.entries if fnmatchcase(package, key)), key=len, default=None
        )

    def actions(self, package: str) -> tuple[Action, ...]:
        """Return what is done for a package; nothing for one without an entry."""
        key = self.key(package)
        if key is None:
            return ()
        python = _PYTHON_PACKAGE.search(package)
        actions = self.entries[key].actions
        return tuple(_filled(each, python=python[0]) for each in actions) if python else actions

    def origin(self, package: str) -> Path:
        """Return the file that a package's entry comes from; raise KeyError without one."""
        return self.origins[self.key(package) or package]

    def copied(self) -> frozenset[str]:
        """Return the paths of packaged files whose content some entry copies."""
        return frozenset(
            action.source
            for script in self.entries.values()
            for action in script.actions
            if isinstance(action, Copy)
        )


def _filled(action: Action, *, python: str) -> Action:
    texts = {name: text.replace(_PYTHON, python) for name, text in action if isinstance(text, str)}
    return action.model_copy(update=texts)


def read_scripts(files: Iterable[Path]) -> Scripts:
    """Read files of entries; an entry of a later file replaces the one of an earlier file.

    Raise ToolError naming file, entry and cause for anything that is not as described above.
    """
    files = tuple(files)
    entries: dict[str, Script] = {}
    origins: dict[str, Path] = {}
    for path in files:
        found = read_yaml(path, _FILE)
        entries |= found
        origins |= dict.fromkeys(found, path)
    return Scripts(entries, origins, files)
