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
from tools.sbom.component import Component, read_components, write_components
from tools.sbom.debs import describe_deb, license_names
from tools.sbom.judges_for_test import judge_cyclonedx, judge_spdx
from tools.sbom.licenses import of_debian, of_wheel
from tools.sbom.wheels import describe_wheel

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


def _deb(tmp_path: Path, name: str, *, extra: bytes = b"", doc: TarMember | None = None) -> Path:
    fields = control(name, version="1:2.0~rc1-3+b1") + extra
    members = [doc] if doc else []
    files = {"control": fields}
    return write_deb(tmp_path, name, members, files=files, version="1%3a2.0")


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
    extra = b"Source: x (1:2.0~rc1-3)\nHomepage: https://x.example\n"
    path = _deb(tmp_path, "libx++1", extra=extra, doc=doc)
    assert describe_deb(path, distro="debian-12") == Component(
        ref="deb-libx++1",
        name="libx++1",
        version="1:2.0~rc1-3+b1",
        purl=(
            "pkg:deb/debian/libx%2B%2B1@1:2.0~rc1-3%2Bb1"
            "?arch=amd64&distro=debian-12&upstream=x%401:2.0~rc1-3"
        ),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        license="LGPL-2.1-or-later AND (MIT OR GPL-2.0-only)",
        license_names=("Expat or GPL-2", "LGPL-2.1+"),
        source="x 1:2.0~rc1-3",
        homepage="https://x.example",
        maintainer="A Tester <tester@example.org>",
    )


@pytest.mark.parametrize(
    "doc",
    [
        None,
        TarMember("./usr/share/doc/a/copyright", b"You may do as you like.\nLicense: Expat\n"),
        TarMember("./usr/share/doc/a/copyright", b"Format: x\nno field\n"),
        TarMember("./usr/share/doc/other/copyright", COPYRIGHT),
        symlink("./usr/share/doc/a", "other"),
    ],
)
def test_free_form_text_gives_no_licence(tmp_path: Path, doc: TarMember | None) -> None:
    found = describe_deb(_deb(tmp_path, "a", doc=doc), distro="debian-12")
    assert (found.license, found.license_names) == (None, ())
    # Of a package built from a source of its own name nothing else is said.
    assert found.purl == "pkg:deb/debian/a@1:2.0~rc1-3%2Bb1?arch=amd64&distro=debian-12"


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        (["GPL-2+"], "GPL-2.0-or-later"),
        (["GPL-3"], "GPL-3.0-only"),
        (["LGPL-2.1", "Expat"], "LGPL-2.1-only AND MIT"),
        (["LGPL-3+ or GPL-2+"], "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        (["BSD-3-clause, and ISC"], "BSD-3-Clause AND ISC"),
        (["Zlib"], "Zlib"),
        (["public-domain"], None),
        (["Expat", "public-domain"], None),
        (["GPL-2+ with Autoconf exception"], None),
        (["Artistic or GPL-1+"], None),
        (["GPL"], None),
        ([], None),
    ],
)
def test_debian_names_become_expressions_where_they_are_clear(
    names: list[str], expression: str | None
) -> None:
    assert of_debian(names) == expression


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
                "name": "zlib-ng",
                "version": "2",
                "purl": "pkg:cargo/zlib-ng@2?download_url=file:///h",
            },
            {"name": "no purl"},
        ]
    }
    libraries = {
        "A_b.libs/libcrypto-0123abcd.so.1.1": b"\x7fELF\0OpenSSL 1.1.1k  FIPS 25 Mar 2021\0",
        "A_b.libs/libssl-0123abcd.so.1.1": b"\x7fELF\0OpenSSL 1.1.1k  FIPS 25 Mar 2021\0",
        "A_b.libs/libavcodec-0123abcd.so.62.2.3": b"\x7fELF\0FFmpeg version n8.1.1\0",
        "A_b.libs/libopenblasp-r0-0123abcd.3.15.so": b"\x7fELF OpenBLAS 0.3.15 DYNAMIC",
        "A_b.libs/libmystery-0123abcd.so.9.8.7": b"\x7fELF OpenSSL 9.9.9 is not said by its makers",
        "a_b/module.so": b"\0OpenSSL 1.1.1k 25 Mar\0",
    }
    files = {"A_b-1.0.dist-info/sboms/x.cyclonedx.json": json.dumps(declared).encode(), **libraries}
    path = _wheel(tmp_path, "A_b", "License-Expression: MIT", files)
    wheel, *inside = describe_wheel(path)
    assert (wheel.ref, wheel.purl, wheel.license) == ("pypi-a-b", "pkg:pypi/a-b@1.0", "MIT")
    assert wheel.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {each.parent for each in inside} == {"pypi-a-b"}
    found = {each.name: each for each in inside}
    assert set(found) == {"zlib-ng", "openssl", "ffmpeg", "openblas", "libmystery"}
    assert found["zlib-ng"].purl == "pkg:cargo/zlib-ng@2"
    openssl = found["openssl"]
    assert openssl.version == "1.1.1k"
    assert openssl.cpe == "cpe:2.3:a:openssl:openssl:1.1.1k:*:*:*:*:*:*:*"
    assert openssl.files == tuple(name for name in libraries if "crypto" in name or "ssl" in name)
    assert openssl.sha256 is None
    assert (found["ffmpeg"].version, found["openblas"].version) == ("8.1.1", "0.3.15")
    mystery = found["libmystery"]
    assert (mystery.version, mystery.purl, mystery.cpe) == (None, None, None)
    content = libraries["A_b.libs/libmystery-0123abcd.so.9.8.7"]
    assert mystery.sha256 == hashlib.sha256(content).hexdigest()


def _everything(tmp_path: Path) -> list[str]:
    doc = TarMember("./usr/share/doc/libx++1/copyright", COPYRIGHT)
    debs = [_deb(tmp_path, "libx++1", doc=doc), _deb(tmp_path, "b")]
    library = {"a_b.libs/libpng16-0123abcd.so.16": b"libpng version 1.6.58\0"}
    wheels = [
        _wheel(tmp_path, "a_b", "License: BSD\nHome-page: https://a.example", library),
        _wheel(tmp_path, "c", "License-Expression: MIT OR Apache-2.0"),
    ]
    return [*(f"--deb={path}" for path in debs), *(f"--wheel={path}" for path in wheels)]


def _documents(tmp_path: Path, flags: list[str]) -> dict[str, Path]:
    make.make_layout(tmp_path / "image", layers=[])
    (tmp_path / "lock.json").write_text('{"mtime": 1795432957, "excluded_paths": []}')
    listed = tmp_path / "components.json"
    assert components.main(["--distro=debian-12", f"--out={listed}", *flags]) == 0
    out = {}
    for kind in ("spdx", "cyclonedx"):
        out[kind] = tmp_path / f"app.{kind}.json"
        arguments = [f"--image={tmp_path / 'image'}", "--name=team/app", "--distro=debian-12"]
        arguments += [f"--lock={tmp_path / 'lock.json'}", f"--components={listed}"]
        assert sbom.main([*arguments, f"--format={kind}", f"--out={out[kind]}"]) == 0
    return out


def test_both_formats_are_valid_and_say_the_same(tmp_path: Path) -> None:
    files = _documents(tmp_path, _everything(tmp_path))
    spdx = judge_spdx(files["spdx"])
    cyclonedx = judge_cyclonedx(files["cyclonedx"].read_bytes())
    assert spdx["creationInfo"]["created"] == "2026-11-23T11:22:37Z"
    assert cyclonedx["metadata"]["timestamp"] == "2026-11-23T11:22:37Z"
    purls = {
        reference["referenceLocator"]
        for package in spdx["packages"]
        for reference in package.get("externalRefs", ())
        if reference["referenceType"] == "purl"
    }
    root = cyclonedx["metadata"]["component"]
    stated = {each["purl"] for each in [root, *cyclonedx["components"]] if "purl" in each}
    assert purls == stated
    assert len(purls) == 6
    manifest = json.loads((tmp_path / "image" / "index.json").read_text())["manifests"][0]
    assert root["version"] == manifest["digest"]
    assert root["purl"] == f"pkg:oci/app@{manifest['digest']}?arch=amd64"
    by_name: dict[str, Any] = {each["name"]: each for each in spdx["packages"]}
    assert by_name["a-b"]["licenseDeclared"] == "NOASSERTION"
    assert by_name["a-b"]["licenseComments"] == "The package states: BSD"
    assert by_name["c"]["licenseDeclared"] == "MIT OR Apache-2.0"
    assert by_name["libx++1"]["supplier"] == "Organization: A Tester (tester@example.org)"
    contained = [
        (each["spdxElementId"], each["relatedSpdxElement"])
        for each in spdx["relationships"]
        if each["relationshipType"] == "CONTAINS"
    ]
    assert ("SPDXRef-pypi-a-b", "SPDXRef-pypi-a-b-bundled-libpng-1.6.58") in contained
    assert ("SPDXRef-image", "SPDXRef-deb-libxplusplus1") in contained


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


def test_records_are_read_back_and_a_repeated_one_is_an_error(tmp_path: Path) -> None:
    one = Component(ref="a", name="a", files=("x",), license_names=("y",))
    file = tmp_path / "components.json"
    file.write_bytes(write_components([one]))
    assert read_components(file) == (one,)
    with pytest.raises(ToolError, match="a: two components have this name"):
        write_components([one, one])
    file.write_text('[{"ref": 1}]')
    with pytest.raises(ToolError, match=r"components\.json: is not a list of components"):
        read_components(file)


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--distro=debian-12", f"--out={tmp_path / 'out'}"]
    (tmp_path / "x.whl").write_bytes(b"no zip")
    assert components.main([*out, f"--wheel={tmp_path / 'x.whl'}"]) == 1
    assert "x.whl: cannot be read as a wheel: File is not a zip file" in capsys.readouterr().err
    (tmp_path / "x.deb").write_bytes(b"no ar")
    assert components.main([*out, f"--deb={tmp_path / 'x.deb'}"]) == 1
    assert "x.deb: not a Debian package" in capsys.readouterr().err


def test_a_copyright_without_files_says_nothing() -> None:
    assert license_names(COPYRIGHT.decode()) == ("Expat or GPL-2", "LGPL-2.1+")
    assert license_names("Format: x\n\nLicense: Expat\n text\n") == ()
