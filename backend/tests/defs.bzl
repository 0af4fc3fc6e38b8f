"""Tests that run inside the backend's image, by its own interpreter, libraries and user."""

load("@pinned_image_pypi//:requirements.bzl", "requirement")
load("//tools/pytest:defs.bzl", "image_pytest_test")

def backend_image_test(name, files, deps = [], image = "//backend:image", size = "large", **kwargs):
    """Runs files below backend/tests inside an image.

    Args:
      name: name of the test.
      files: what pytest runs, relative to backend, and its flags.
      deps: Python libraries that the image lacks, beside pytest and httpx2.
      image: the image.
      size: Bazel's test size.
      **kwargs: further arguments of `image_pytest_test`.
    """
    image_pytest_test(
        name = name,
        size = size,
        deps = deps + [
            requirement("httpx2"),
            requirement("pytest"),
        ],
        files = files,
        image = image,
        target = "/app/tests",
        tests = ["//backend/tests:files"],
        tests_dir = "backend/tests",
        **kwargs
    )
