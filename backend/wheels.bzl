"""Which wheels go into which layer, for each architecture."""

load("@pypi_amd64//:requirements.bzl", amd64_wheels = "all_whl_requirements")
load("@pypi_arm64//:requirements.bzl", arm64_wheels = "all_whl_requirements")

# Large and seldom changed: a layer of their own, so that a bump of a small wheel leaves them alone.
_HEAVY = [
    "numpy",
    "opencv_python_headless",
]

def _is_heavy(label):
    return any([name in label for name in _HEAVY])

_WHEELS = {
    "amd64": amd64_wheels,
    "arm64": arm64_wheels,
}

HEAVY_WHEELS = {
    arch: [label for label in labels if _is_heavy(label)]
    for arch, labels in _WHEELS.items()
}

OTHER_WHEELS = {
    arch: [label for label in labels if not _is_heavy(label)]
    for arch, labels in _WHEELS.items()
}
