"""Which wheels go into which layer, for each architecture."""

load("@pypi_amd64//:requirements.bzl", amd64_wheels = "all_whl_requirements")
load("@pypi_arm64//:requirements.bzl", arm64_wheels = "all_whl_requirements")

# From the largest and least changed to the others, so that a bump of a small wheel changes one layer of
# less than 5 MB. What is named nowhere is in `other`; layers_test keeps the small layers small.
_LAYERS = {
    "heavy": [
        "numpy",
        "opencv_python_headless",
    ],
    "medium": [
        "pydantic_core",
        "sqlalchemy",
        "uvloop",
    ],
    "tasks": [
        "amqp",
        "billiard",
        "celery",
        "click_didyoumean",
        "click_plugins",
        "click_repl",
        "kombu",
        "redis",
        "vine",
    ],
    "web": [
        "annotated_types",
        "anyio",
        "click",
        "fastapi",
        "h11",
        "httptools",
        "idna",
        "psycopg",
        "pydantic",
        "pydantic_settings",
        "python_multipart",
        "starlette",
        "uvicorn",
    ],
}

_WHEELS = {
    "amd64": amd64_wheels,
    "arm64": arm64_wheels,
}

def _layer_of(label):
    """The layer of a wheel such as `@pypi_amd64//numpy:whl`."""
    name = label.rpartition("//")[2].partition(":")[0]
    for layer, packages in _LAYERS.items():
        if name in packages:
            return layer
    return "other"

# All of them, by architecture.
IMAGE_WHEELS = _WHEELS

# Layer -> architecture -> wheels, the layers in the order in which the image has them.
WHEEL_LAYERS = {
    layer: {
        arch: [label for label in labels if _layer_of(label) == layer]
        for arch, labels in _WHEELS.items()
    }
    for layer in list(_LAYERS) + ["other"]
}

SMALL_WHEEL_LAYERS = [
    "tasks",
    "web",
    "other",
]
