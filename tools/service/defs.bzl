"""The front door: a Python service as an image (`python_service_image`), and what proves it (`image_proofs`)."""

load(":image_proofs.bzl", _image_proofs = "image_proofs")
load(":python_service_image.bzl", _python_service_image = "python_service_image")

image_proofs = _image_proofs
python_service_image = _python_service_image
