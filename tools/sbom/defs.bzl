"""What BUILD files load from here."""

load("@pinned_image_pypi//:requirements.bzl", "requirement")
load("//tools:python_tool.bzl", "python_tool_test")
load(":sbom.bzl", _image_sbom = "image_sbom", _sbom_components = "sbom_components")

image_sbom = _image_sbom
sbom_components = _sbom_components

_MAIN = Label("//tools/pytest:pytest_main.py")
_TESTS = Label(":image_sboms_test.py")

def sbom_test(name, image, spdx, spdx3, cyclonedx, **kwargs):
    """Judge the SBOMs of an image or index: by their schemas, by the public checkers, and by what the image holds.

    The checkers are those of NTIA's minimum elements, of FSCT's minimum expectation and of BSI TR-03183-2.

    Args:
      name: name of the test.
      image: the image, or the index.
      spdx: its SBOM in SPDX 2.3.
      spdx3: its SBOM in SPDX 3.
      cyclonedx: its SBOM in CycloneDX.
      **kwargs: further attributes of the test.
    """
    documents = {"CYCLONEDX": cyclonedx, "SPDX": spdx, "SPDX3": spdx3}
    python_tool_test(
        name = name,
        srcs = [_MAIN, _TESTS],
        main = _MAIN,
        args = ["$(rootpath {})".format(_TESTS)],
        data = [image, _TESTS] + documents.values(),
        env = {"IMAGE": "$(rootpath {})".format(image)} | {
            variable: "$(rootpath {})".format(document)
            for variable, document in documents.items()
        },
        deps = [Label(":judges_for_test"), Label(requirement("pytest"))],
        **kwargs
    )
