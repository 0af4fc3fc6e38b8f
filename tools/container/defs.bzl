"""Public rules of `tools/container`: starting an image, and the emulators of other architectures."""

load(":container_run.bzl", _container_run = "container_run")
load(":qemu_user.bzl", _EMULATED = "EMULATED", _qemu_user = "qemu_user")

container_run = _container_run
EMULATED = _EMULATED
qemu_user = _qemu_user
