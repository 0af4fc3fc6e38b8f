"""What BUILD files load from here."""

load("//tools/pytest:defs.bzl", "pytest_test")
load(":sbom.bzl", _image_sbom = "image_sbom", _sbom_components = "sbom_components")

image_sbom = _image_sbom
sbom_components = _sbom_components

def sbom_test(name, image, spdx, cyclonedx, **kwargs):
    """Judge the SBOMs of an image by their schemas, and by what the image holds.

    Args:
      name: name of the test.
      image: the image.
      spdx: its SBOM in SPDX.
      cyclonedx: its SBOM in CycloneDX.
      **kwargs: further attributes of the test.
    """
    pytest_test(
        name = name,
        srcs = [Label(":image_sboms_test.py")],
        data = [image, spdx, cyclonedx],
        env = {
            "CYCLONEDX": "$(rootpath {})".format(cyclonedx),
            "IMAGE": "$(rootpath {})".format(image),
            "SPDX": "$(rootpath {})".format(spdx),
        },
        deps = [Label(":judges_for_test")],
        **kwargs
    )
