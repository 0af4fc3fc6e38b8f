"""Packages made here, and what the SBOMs say of them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tools.archive.debs_for_test import TarMember, control, symlink, write_deb
from tools.cli import ToolError
from tools.image import layouts_for_test as make
from tools.sbom import components, sbom
from tools.sbom.bundled import identify
from tools.sbom.component import Component, Party, read_components, write_components
from tools.sbom.debs import describe_debs, read_copyright
from tools.sbom.dependencies import of_debs, of_wheels
from tools.sbom.judges_for_test import judge_cyclonedx, judge_spdx, unmet
from tools.sbom.licenses import of_debian, of_wheel
from tools.sbom.wheels import describe_wheel
from tools.wheels.target import Target

COPYRIGHT = b"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
License: not this one
 It stands for no file.

Files: *
Copyright: somebody
License: LGPL-2.1+

Files: a b
Copyright: somebody
License: Expat or GPL-2
 With a text.

License: LGPL-2.1+
 The text of it.
"""


FREE = b"Copyright 1999 somebody\nYou may do as you like.\nLicense: Expat\n"
MARKERS = Target(arch="amd64", python="3.11.2", glibc_minor=36).marker_environment


def _deb(tmp_path: Path, name: str, *, extra: bytes = b"", doc: TarMember | None = None) -> Path:
    fields = control(name, version="1:2.0~rc1-3+b1") + extra
    members = [doc] if doc else []
    files = {"control": fields}
    return write_deb(tmp_path, name, members, files=files, version="1%3a2.0")


def _described(path: Path) -> Component:
    return describe_debs([path], distro="debian-12")[0]


def _wheel(tmp_path: Path, name: str, fields: str, files: dict[str, bytes] | None = None) -> Path:
    path = tmp_path / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{fields}\n"
        archive.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
        for member, data in (files or {}).items():
            archive.writestr(member, data)
    return path


def test_a_debian_package_is_known_by_its_control_file_and_its_copyright(tmp_path: Path) -> None:
    doc = TarMember("./usr/share/doc/libx++1/copyright", COPYRIGHT)
    extra = b"Source: x (1:2.0~rc1-3)\nHomepage: https://x.example\nProvides: yy (= 1)\n"
    extra += b"Pre-Depends: aa (>= 1)\nDepends: bb | cc\n"
    path = _deb(tmp_path, "libx++1", extra=extra, doc=doc)
    content = path.read_bytes()
    assert _described(path) == Component(
        ref="deb-libx++1",
        name="libx++1",
        version="1:2.0~rc1-3+b1",
        purl=(
            "pkg:deb/debian/libx%2B%2B1@1:2.0~rc1-3%2Bb1"
            "?arch=amd64&distro=debian-12&upstream=x%401:2.0~rc1-3"
        ),
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        sha512=hashlib.sha512(content).hexdigest(),
        license="LGPL-2.1-or-later AND (MIT OR GPL-2.0-only)",
        license_names=("Expat or GPL-2", "LGPL-2.1+"),
        copyright="somebody",
        source="x 1:2.0~rc1-3",
        homepage="https://x.example",
        maintainer="A Tester <tester@example.org>",
        needs=("aa (>= 1)", "bb | cc"),
        provides=("yy (= 1)",),
    )


@pytest.mark.parametrize(
    ("doc", "text", "notices"),
    [
        (
            TarMember("./usr/share/doc/a/copyright", FREE),
            FREE.decode(),
            "Copyright 1999 somebody",
        ),
        (
            TarMember("./usr/share/doc/a/copyright", b"Format: x\nno field\n"),
            "Format: x\nno field\n",
            "No notice that can be told from the text: see the licence, which is the whole file.",
        ),
        (
            None,
            "Not stated: the package has no copyright file of its own and shares none.",
            "Not stated: the package has no copyright file of its own and shares none.",
        ),
    ],
)
def test_the_licence_of_free_form_text_is_the_text(
    tmp_path: Path, doc: TarMember | None, text: str, notices: str
) -> None:
    found = _described(_deb(tmp_path, "a", doc=doc))
    ((reference, said),) = found.license_texts
    assert (found.license, found.license_names) == (reference, ())
    assert reference == f"LicenseRef-debian-a-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    assert (said, found.copyright) == (text, notices)
    # Of a package built from a source of its own name nothing else is said.
    assert found.purl == "pkg:deb/debian/a@1:2.0~rc1-3%2Bb1?arch=amd64&distro=debian-12"


def test_a_package_that_shares_documentation_has_the_others_licence(tmp_path: Path) -> None:
    debs = [
        _deb(tmp_path, "e", doc=symlink("./usr/share/doc/e", "a")),
        _deb(tmp_path, "a", doc=symlink("./usr/share/doc/a", "b")),
        _deb(tmp_path, "b", doc=symlink("./usr/share/doc/b/copyright", "../c/copyright")),
        _deb(tmp_path, "c", doc=TarMember("./usr/share/doc/c/copyright", COPYRIGHT)),
        _deb(tmp_path, "f", doc=symlink("./usr/share/doc/f", "e")),
        _deb(tmp_path, "d", doc=symlink("./usr/share/doc/d", "g")),
        _deb(tmp_path, "g", doc=symlink("./usr/share/doc/g", "d")),
    ]
    *sharing, _, lost = describe_debs(debs, distro="debian-12")
    assert {each.license for each in sharing} == {"LGPL-2.1-or-later AND (MIT OR GPL-2.0-only)"}
    assert "has no copyright file" in lost.license_texts[0][1]


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        (["GPL-2+"], "GPL-2.0-or-later"),
        (["GPL-3"], "GPL-3.0-only"),
        (["LGPL-2.1", "Expat"], "LGPL-2.1-only AND MIT"),
        (["LGPL-3+ or GPL-2+"], "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        (["BSD-3-clause, and ISC"], "BSD-3-Clause AND ISC"),
        (["Zlib"], "Zlib"),
    ],
)
def test_debian_names_become_expressions_where_they_are_clear(
    names: list[str], expression: str
) -> None:
    found = of_debian(names, texts={}, owner="debian-x")
    assert found is not None
    assert (found.expression, found.texts) == (expression, ())


@pytest.mark.parametrize(
    ("name", "expression", "text"),
    [
        ("public-domain", "LicenseRef-debian-x-public-domain-44eae9cd", "Nobody owns it."),
        (
            "GPL-2+ with Autoconf exception",
            "LicenseRef-debian-x-GPL-2-with-Autoconf-exception-75f6ec8d",
            "debian/copyright calls it 'GPL-2+ with Autoconf exception' and has no text.",
        ),
        (
            "Artistic or GPL-1+",
            "LicenseRef-debian-x-Artistic-bff52dbd OR GPL-1.0-or-later",
            "debian/copyright calls it 'Artistic' and has no text.",
        ),
    ],
)
def test_debian_names_that_are_unclear_stand_for_their_text(
    name: str, expression: str, text: str
) -> None:
    texts = {"public-domain": "Nobody owns it."}
    found = of_debian([name], texts=texts, owner="debian-x")
    assert found is not None
    assert [said for _, said in found.texts] == [text]
    assert found.expression == expression
    assert of_debian([], texts={}, owner="debian-x") is None


@pytest.mark.parametrize(
    ("metadata", "expression"),
    [
        ({"license-expression": ["mit OR apache-2.0"], "license": ["x"]}, "MIT OR Apache-2.0"),
        ({"license-expression": ["LicenseRef-mine"]}, None),
        ({"license": ["BSD-3-Clause"]}, "BSD-3-Clause"),
        ({"license": ["MIT"], "classifier": ["License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"classifier": ["License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"license": ["BSD"], "classifier": ["License :: OSI Approved :: BSD License"]}, None),
        ({"license": ["the text\nof a licence"]}, None),
        (
            {
                "license": ["Dual License"],
                "classifier": [
                    "License :: OSI Approved :: BSD License",
                    "License :: OSI Approved :: Apache Software License",
                ],
            },
            None,
        ),
        (
            {
                "license": ["MIT License"],
                "classifier": ["License :: OSI Approved :: ISC License (ISCL)"],
            },
            None,
        ),
        ({}, None),
    ],
)
def test_a_wheels_licence_is_taken_where_it_is_clear(
    metadata: dict[str, list[str]], expression: str | None
) -> None:
    assert of_wheel(metadata)[0] == expression


def test_what_a_wheel_bundles_is_found_in_its_sboms_and_its_libraries(tmp_path: Path) -> None:
    declared = {
        "components": [
            {"name": "A_b", "version": "1.0", "purl": "pkg:pypi/a-b@1.0?file_name=x"},
            {
                "bom-ref": "zlib",
                "name": "zlib-ng",
                "version": "2",
                "purl": "pkg:cargo/zlib-ng@2?download_url=file:///h",
                "author": "A Maker <maker@example.org>, B Maker <b@example.org>",
                "licenses": [{"expression": "Zlib OR MIT"}],
                "externalReferences": [{"type": "vcs", "url": "https://zlib.example"}],
            },
            *(
                {
                    "bom-ref": f"openssl{number}",
                    "name": "openssl-libs",
                    "version": "1.1.1k-15.el8",
                    "purl": "pkg:rpm/almalinux/openssl-libs@1.1.1k-15.el8",
                }
                for number in range(2)
            ),
            {"name": "libdrm", "version": "2.4-1", "purl": "pkg:rpm/almalinux/libdrm@2.4-1"},
            {"name": "no purl"},
        ],
        "dependencies": [
            {"ref": "zlib", "dependsOn": ["openssl0", "elsewhere"]},
            {"ref": "openssl0"},
        ],
    }
    libraries = {
        "A_b.libs/libcrypto-0123abcd.so.1.1": b"\x7fELF\0OpenSSL 1.1.1k  FIPS 25 Mar 2021\0",
        "A_b.libs/libssl-0123abcd.so.1.1": b"\x7fELF\0OpenSSL 1.1.1k  FIPS 25 Mar 2021\0",
        "A_b.libs/libavcodec-0123abcd.so.62.2.3": b"\x7fELF\0FFmpeg version n8.1.1\0"
        b"libavcodec license: LGPL version 2.1 or later\0",
        "A_b.libs/libdrm-0123abcd.so.2.4.0": b"\x7fELF says nothing",
        "A_b.libs/libopenblasp-r0-0123abcd.3.15.so": b"\x7fELF OpenBLAS 0.3.15 DYNAMIC",
        "A_b.libs/libmystery-0123abcd.so.9.8.7": b"\x7fELF OpenSSL 9.9.9 is not said by its makers",
        "a_b/module.so": b"\0OpenSSL 1.1.1k 25 Mar\0",
    }
    table = b"Name: OpenBLAS\nFiles: A_b.libs/libopenblas*.so\nLicense: BSD-3-Clause\n"
    files = {
        "A_b-1.0.dist-info/sboms/x.cyclonedx.json": json.dumps(declared).encode(),
        "A_b-1.0.dist-info/sboms/sbom.json": json.dumps(
            {
                "components": [
                    {"name": "x", "version": "4", "purl": "pkg:generic/x@4?download_url=y"}
                ]
            }
        ).encode(),
        "A_b-1.0.dist-info/sboms/x.spdx.json": b'{"spdxVersion": "SPDX-2.3", "packages": []}',
        "A_b-1.0.dist-info/licenses/LICENSE.txt": b"(c) 2001 A Maker\n\n" + table,
        **libraries,
    }
    path = _wheel(tmp_path, "A_b", "License-Expression: MIT", files)
    wheel, *inside = describe_wheel(path)
    assert (wheel.ref, wheel.purl, wheel.license) == ("pypi-a-b", "pkg:pypi/a-b@1.0", "MIT")
    assert wheel.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert wheel.copyright == "(c) 2001 A Maker"
    assert {each.parent for each in inside} == {"pypi-a-b"}
    found = {each.name: each for each in inside}
    names = {"zlib-ng", "openssl-libs", "ffmpeg", "openblas", "libdrm", "libmystery", "x"}
    assert set(found) == names
    assert len(inside) == len(names)
    assert found["x"].purl == "pkg:generic/x@4"
    zlib = found["zlib-ng"]
    assert zlib.purl == "pkg:cargo/zlib-ng@2"
    assert zlib.license == "Zlib OR MIT"
    assert zlib.supplier == Party("A Maker", "maker@example.org")
    assert zlib.depends == ("pypi-a-b-rpm-openssl-libs-1.1.1k-15.el8",)
    # It was compiled into the wheel, and comes in no file of its own.
    assert (zlib.file, zlib.sha256) == (path.name, wheel.sha256)
    # One component, with the name of its package, for what the SBOM declares twice and two files.
    openssl = found["openssl-libs"]
    assert openssl.version == "1.1.1k-15.el8"
    assert openssl.purl == "pkg:rpm/almalinux/openssl-libs@1.1.1k-15.el8"
    assert openssl.cpe == "cpe:2.3:a:openssl:openssl:1.1.1k:*:*:*:*:*:*:*"
    assert openssl.files[1:] == tuple(
        name for name in libraries if "crypto" in name or "ssl" in name
    )
    assert (openssl.file, openssl.sha256) == (path.name, wheel.sha256)
    assert (found["libdrm"].version, found["libdrm"].file) == ("2.4-1", "libdrm-0123abcd.so.2.4.0")
    assert (found["ffmpeg"].version, found["ffmpeg"].license) == ("8.1.1", "LGPL-2.1-or-later")
    assert (found["openblas"].version, found["openblas"].license) == ("0.3.15", "BSD-3-Clause")
    mystery = found["libmystery"]
    content = libraries["A_b.libs/libmystery-0123abcd.so.9.8.7"]
    digest = hashlib.sha256(content).hexdigest()
    assert (mystery.version, mystery.cpe) == (None, None)
    assert mystery.purl == f"pkg:generic/libmystery?checksum=sha256:{digest}"
    assert mystery.sha256 == digest
    assert mystery.notes == (
        "Version unknown: neither the file nor the wheel's own SBOM states one.",
    )
    assert "(c) 2001 A Maker" in mystery.license_texts[0][1]


@pytest.mark.parametrize(
    ("file", "content", "identified"),
    [
        (
            "a.libs/libavutil-01234567.so.60.26.101",
            b"0123456789abcdefFFmpeg version 8.1.1",
            ("ffmpeg", "8.1.1", "cpe:2.3:a:ffmpeg:ffmpeg:8.1.1:*:*:*:*:*:*:*"),
        ),
        ("a.libs/libswscale-01234567.so.9.5.101", b"", ("libswscale", "9.5.101", None)),
        (
            "a.libs/libaom-01234567.so.3.14.1",
            b"AOMedia Project AV1 Encoder 3.14.1\0",
            ("libaom", "3.14.1", "cpe:2.3:a:aomedia:aomedia:3.14.1:*:*:*:*:*:*:*"),
        ),
        (
            "a.libs/libavif-01234567.so.16.4.2",
            b"\x001.4.2\0Upgrade to libaom v3.6.1 or later\0",
            ("libavif", "1.4.2", "cpe:2.3:a:aomedia:libavif:1.4.2:*:*:*:*:*:*:*"),
        ),
        ("a.libs/libavif-01234567.so.16.4.2", b"\x001.4.2\0or \x002.0.0\0", (None, None, None)),
        ("a.libs/libgfortran-01234567.so.5.0.0", b"libgfortran.so.5.0.0", (None, None, None)),
    ],
)
def test_a_library_is_what_it_says_itself(
    file: str, content: bytes, identified: tuple[str | None, ...]
) -> None:
    stem = file.partition("/")[2].partition("-")[0]
    assert identify(stem, content, file=file) == identified


@pytest.mark.parametrize(
    ("fields", "supplier"),
    [
        ("Author-email: A B <a@example.org>, c@example.org", Party("A B", "a@example.org")),
        (
            "Author: A\nAuthor-email: a@example.org\nMaintainer: B\nHome-page: https://b.example",
            Party("A", "a@example.org"),
        ),
        (
            "Author: \u017belazny\nMaintainer: B\nProject-URL: Home, https://b.example",
            Party("B", "https://b.example"),
        ),
        ("Home-page: https://b.example", Party("https://b.example", "https://b.example")),
        ("Summary: by nobody", None),
    ],
)
def test_the_supplier_of_a_wheel_is_whoever_has_an_address(
    tmp_path: Path, fields: str, supplier: Party | None
) -> None:
    (wheel,) = describe_wheel(_wheel(tmp_path, "a", fields))
    assert wheel.supplier == supplier
    assert wheel.license_texts[0][1].endswith("its metadata states: nothing.")


def test_of_what_a_package_needs_those_are_named_that_are_there_and_fit() -> None:
    def package(name: str, *, needs: str = "", provides: str = "") -> Component:
        return Component(
            ref=name,
            name=name,
            version="2",
            needs=tuple(filter(None, needs.split(", "))),
            provides=tuple(filter(None, provides.split(", "))),
        )

    packages = [
        package("aa", needs="bb (>= 1) | cc, dd, ee (>= 3), ff (= 9), gg (>= 1), aa, hh"),
        package("bb"),
        package("real", provides="dd, ee (= 2), ff (= 9), gg"),
        package("cc"),
    ]
    found = {each.name: each.depends for each in of_debs(packages)}
    assert found == {"aa": ("bb", "cc", "real"), "bb": (), "cc": (), "real": ()}


def test_a_wheel_needs_what_its_markers_say_and_what_a_whole_extra_has() -> None:
    def wheel(name: str, *needs: str) -> Component:
        return Component(ref=f"pypi-{name}", name=name, version="2.0", needs=needs)

    wheels = [
        wheel(
            "a",
            "B.c>=1",
            "d<2",
            "e; python_version < '3.8'",
            "f; extra == 'whole' and sys_platform == 'linux'",
            "e; extra == 'part'",
            "missing; extra == 'part'",
            "g; extra == 'none' and sys_platform == 'win32'",
        ),
        *(wheel(name) for name in ("b-c", "d", "e", "f", "g")),
    ]
    found = {each.name: each.depends for each in of_wheels(wheels, environment=MARKERS)}
    assert found["a"] == ("pypi-b-c", "pypi-f")
    assert {found[name] for name in ("b-c", "d", "e", "f", "g")} == {()}


SUPPLIER = "A Team <team@example.org>"
FORMATS = ("spdx", "spdx3", "cyclonedx")


def _everything(tmp_path: Path) -> list[str]:
    doc = TarMember("./usr/share/doc/libx++1/copyright", COPYRIGHT)
    debs = [
        _deb(tmp_path, "libx++1", doc=doc),
        _deb(tmp_path, "b", extra=b"Depends: libx++1 (>= 1:1), nowhere | libx++1\n"),
    ]
    libraries = {
        "a_b.libs/libpng16-0123abcd.so.16": b"libpng version 1.6.58\0",
        "a_b.libs/libmystery-0123abcd.so.1": b"no version",
    }
    wheels = [
        _wheel(tmp_path, "a_b", "License: BSD\nHome-page: https://a.example", libraries),
        _wheel(
            tmp_path,
            "c",
            "License-Expression: MIT OR Apache-2.0\nRequires-Dist: a.b\nAuthor-email: c@x.example",
        ),
    ]
    return [*(f"--deb={path}" for path in debs), *(f"--wheel={path}" for path in wheels)]


def _flags(tmp_path: Path, layout: str = "image") -> list[str]:
    (tmp_path / "lock.json").write_text('{"mtime": 1795432957, "excluded_paths": []}')
    flags = [f"--image={tmp_path / layout}", "--name=team/app", "--distro=debian-12"]
    return [*flags, f"--lock={tmp_path / 'lock.json'}"]


def _documents(
    tmp_path: Path, flags: list[str], *, supplier: str = SUPPLIER, index: bool = False
) -> dict[str, Path]:
    listed = tmp_path / "components.json"
    assert components.main(["--distro=debian-12", f"--out={listed}", *flags]) == 0
    given = [f"--components=amd64={listed}"]
    entries = []
    for architecture in ("amd64", "arm64") if index else ("amd64",):
        config = {"architecture": architecture}
        make.make_layout(tmp_path / "image", layers=[], config_extra=config)
        entries.append(make.root_entry(tmp_path / "image"))
    if index:
        make.make_index(tmp_path / "image", entries)
        given.append(f"--components=arm64={listed}")
    out = {}
    for kind in FORMATS:
        out[kind] = tmp_path / f"app.{kind}.json"
        arguments = [*_flags(tmp_path), *given, *([f"--supplier={supplier}"] if supplier else [])]
        assert sbom.main([*arguments, f"--format={kind}", f"--out={out[kind]}"]) == 0
    return out


def test_all_formats_are_valid_and_say_the_same(tmp_path: Path) -> None:
    files = _documents(tmp_path, _everything(tmp_path))
    spdx = judge_spdx(files["spdx"])
    cyclonedx = judge_cyclonedx(files["cyclonedx"].read_bytes())
    assert spdx["creationInfo"] == {
        "created": "2026-11-23T11:22:37Z",
        "creators": ["Organization: A Team (team@example.org)", "Tool: pinned_image-sbom"],
    }
    assert cyclonedx["metadata"]["timestamp"] == "2026-11-23T11:22:37Z"
    assert cyclonedx["metadata"]["manufacturer"]["contact"] == [{"email": "team@example.org"}]
    purls = {
        reference["referenceLocator"]
        for package in spdx["packages"]
        for reference in package.get("externalRefs", ())
        if reference["referenceType"] == "purl"
    }
    root = cyclonedx["metadata"]["component"]
    stated = {each["purl"] for each in [root, *cyclonedx["components"]] if "purl" in each}
    assert purls == stated
    graph = json.loads(files["spdx3"].read_bytes())["@graph"]
    assert purls == {each["software_packageUrl"] for each in graph if "software_packageUrl" in each}
    assert len(purls) == 7
    manifest = json.loads((tmp_path / "image" / "index.json").read_text())["manifests"][0]
    assert root["version"] == manifest["digest"]
    assert root["purl"] == f"pkg:oci/app@{manifest['digest']}?arch=amd64"
    by_name: dict[str, Any] = {each["name"]: each for each in spdx["packages"]}
    assert by_name["a-b"]["licenseDeclared"].startswith("LicenseRef-pypi-a-b-")
    assert "The package states: BSD" in by_name["a-b"]["licenseComments"]
    assert by_name["c"]["licenseConcluded"] == "MIT OR Apache-2.0"
    assert by_name["libx++1"]["supplier"] == "Organization: A Tester (tester@example.org)"
    assert by_name["libmystery"]["versionInfo"] == "NOASSERTION"
    assert by_name["libmystery"]["comment"].startswith("Version unknown: neither the file nor")
    relations = {
        (each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"])
        for each in spdx["relationships"]
    }
    bundled = "SPDXRef-pypi-a-b-bundled-libpng-1.6.58"
    assert relations >= {
        ("SPDXRef-image", "CONTAINS", "SPDXRef-deb-libxplusplus1"),
        ("SPDXRef-pypi-a-b", "CONTAINS", bundled),
        ("SPDXRef-pypi-a-b", "DEPENDS_ON", bundled),
        ("SPDXRef-deb-b", "DEPENDS_ON", "SPDXRef-deb-libxplusplus1"),
        ("SPDXRef-pypi-c", "DEPENDS_ON", "SPDXRef-pypi-a-b"),
    }
    needed = {each["ref"]: each["dependsOn"] for each in cyclonedx["dependencies"]}
    assert needed["deb-b"] == ["deb-libx++1"]
    assert needed["pypi-c"] == ["pypi-a-b"]


@pytest.mark.parametrize("index", [False, True])
def test_the_public_checkers_find_nothing_missing(tmp_path: Path, index: bool) -> None:
    files = _documents(tmp_path, _everything(tmp_path), index=index)
    assert unmet(files["spdx"], "spdx2") == {}
    assert unmet(files["spdx3"], "spdx3") == {}
    judge_spdx(files["spdx"])
    judge_cyclonedx(files["cyclonedx"].read_bytes())


def test_the_public_checkers_name_what_is_missing(tmp_path: Path) -> None:
    files = _documents(tmp_path, _everything(tmp_path), supplier="")
    assert unmet(files["spdx"], "spdx2")["ntia"] == [
        "All component suppliers provided?",
        "supplier: SPDXRef-image",
    ]
    found = unmet(files["spdx3"], "spdx3")
    assert "All component suppliers provided?" in found["ntia"]
    assert {"Creator of the SBOM", "Component Creators"} <= set(found["bsi"])
    # The documents are valid all the same.
    judge_spdx(files["spdx"])
    judge_cyclonedx(files["cyclonedx"].read_bytes())


def test_an_index_has_the_components_of_each_image(tmp_path: Path) -> None:
    files = _documents(tmp_path, _everything(tmp_path), index=True)
    document = json.loads(files["cyclonedx"].read_bytes())
    root = document["metadata"]["component"]
    needed = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert root["bom-ref"] == "index"
    assert needed["index"] == ["image-amd64", "image-arm64", "os"]
    assert "arm64-deb-b" in needed["image-arm64"]
    assert needed["arm64-deb-b"] == ["arm64-deb-libx++1"]
    assert "amd64-pypi-a-b-bundled-libpng-1.6.58" in needed["amd64-pypi-a-b"]


def test_the_order_of_packages_changes_no_byte_and_another_package_the_name(tmp_path: Path) -> None:
    flags = _everything(tmp_path)
    (tmp_path / "other").mkdir()
    first = {kind: file.read_bytes() for kind, file in _documents(tmp_path, flags).items()}
    again = _documents(tmp_path / "other", flags[::-1])
    assert {kind: file.read_bytes() for kind, file in again.items()} == first
    fewer = _documents(tmp_path / "other", flags[1:])
    one, two = (json.loads(each) for each in (first["spdx"], fewer["spdx"].read_bytes()))
    assert one["documentNamespace"] != two["documentNamespace"]
    one, two = (json.loads(each) for each in (first["cyclonedx"], fewer["cyclonedx"].read_bytes()))
    assert one["serialNumber"] != two["serialNumber"]
    one, two = (
        json.loads(each)["@graph"] for each in (first["spdx3"], fewer["spdx3"].read_bytes())
    )
    assert one[1]["spdxId"] != two[1]["spdxId"]


def test_records_are_read_back_and_a_repeated_one_is_an_error(tmp_path: Path) -> None:
    one = Component(ref="a", name="a", files=("x",), license_texts=(("y", "z"),), container=True)
    file = tmp_path / "components.json"
    file.write_bytes(write_components([one]))
    assert read_components(file) == (one,)
    with pytest.raises(ToolError, match="a: two components have this name"):
        write_components([one, one])
    for wrong in ('[{"ref": 1}]', "{", "[1]"):
        file.write_text(wrong)
        with pytest.raises(ToolError, match=r"components\.json: is not a list of components"):
            read_components(file)


def test_components_of_the_images_architecture_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make.make_layout(tmp_path / "image", layers=[])
    (tmp_path / "none.json").write_text("[]")
    out = [*_flags(tmp_path), "--format=spdx", f"--out={tmp_path / 'out'}"]
    assert sbom.main([*out, f"--components=arm64={tmp_path / 'none.json'}"]) == 1
    error = capsys.readouterr().err
    assert "is or has an image for 'amd64', and there are components for arm64;" in error
    assert "pass --components amd64=FILE" in error
    assert sbom.main([*out, "--components=none.json"]) == 1
    assert "--components: must be ARCH=FILE, found 'none.json'" in capsys.readouterr().err


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--distro=debian-12", f"--out={tmp_path / 'out'}"]
    (tmp_path / "x.whl").write_bytes(b"no zip")
    assert components.main([*out, f"--wheel={tmp_path / 'x.whl'}"]) == 1
    assert "x.whl: cannot be read as a wheel: File is not a zip file" in capsys.readouterr().err
    wheel = _wheel(tmp_path, "a", "Requires-Dist: >1")
    assert components.main([*out, f"--wheel={wheel}"]) == 1
    assert f"{wheel}: cannot be read as a wheel: " in capsys.readouterr().err
    (tmp_path / "x.deb").write_bytes(b"no ar")
    assert components.main([*out, f"--deb={tmp_path / 'x.deb'}"]) == 1
    assert "x.deb: not a Debian package" in capsys.readouterr().err


def test_a_copyright_gives_names_texts_and_notices() -> None:
    found = read_copyright(COPYRIGHT.decode())
    assert found.names == ("Expat or GPL-2", "LGPL-2.1+")
    assert found.texts == {
        "not this one": "It stands for no file.",
        "Expat or GPL-2": "With a text.",
        "LGPL-2.1+": "The text of it.",
    }
    assert found.notices == "somebody"
    assert read_copyright("Format: x\n\nLicense: Expat\n text\n").names == ()


@pytest.mark.parametrize("document", ["[]", '{"components": [1]}', "[" * 100_000])
def test_a_wheel_whose_own_sbom_is_damaged_is_named(document: str, tmp_path: Path) -> None:
    wheel = tmp_path / "a-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "a-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1.0\n"
        )
        archive.writestr("a-1.0.dist-info/sboms/a.cdx.json", document)
    with pytest.raises(ToolError, match=r"a-1.0-py3-none-any.whl: cannot be read as a wheel: "):
        describe_wheel(wheel)
