"""Which files are modules, and what an import that fails means."""

from __future__ import annotations

import pytest

from tools.proof.allowlist import Allowlist
from tools.proof.module_imports import Imports, findings, module_name, optional_names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("numpy/__init__.py", "numpy"),
        (
            "numpy/core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
            "numpy.core._multiarray_umath",
        ),
        ("cv2/cv2.abi3.so", "cv2.cv2"),
        ("six.py", "six"),
        ("uvloop/loop.so", "uvloop.loop"),
        ("celery/__main__.py", None),
        ("cv2/config-3.py", None),
        ("../../../bin/celery", None),
        ("opencv_python_headless.libs/libavcodec-99.so.59", None),
        ("opencv_python_headless.libs/libQt5-99.so", None),
        ("six-1.dist-info/RECORD", None),
        ("__pycache__/six.cpython-311.pyc", None),
        ("__init__.py", None),
    ],
)
def test_files_are_named_as_an_import_statement_would(path: str, name: str | None) -> None:
    assert module_name(path) == name


def test_a_failure_is_reported_unless_it_is_allowed() -> None:
    imports = Imports(
        names=("a", "b", "c"),
        failed={"a.win32": "ImportError: no", "b": "OSError: libz.so.1"},
        optional={"c": "django.db"},
    )
    allowlist = Allowlist({"modules": {"a.*": "for Windows", "x": "old"}}, source="list.yaml")
    assert findings(imports, allowlist) == ["import b: OSError: libz.so.1"]
    assert allowlist.idle() == [
        "list.yaml: modules: x: nothing of that kind is found there; drop the entry"
    ]
    assert optional_names(imports) == "django"
