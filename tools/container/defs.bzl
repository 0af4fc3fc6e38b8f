"""What BUILD files load from here."""

load(":container_run.bzl", _container_run = "container_run")
load(":image_pytest.bzl", _image_pytest_test = "image_pytest_test")
load(":qemu_user.bzl", _EMULATED = "EMULATED", _qemu_user = "qemu_user")

EMULATED = _EMULATED
container_run = _container_run
image_pytest_test = _image_pytest_test
qemu_user = _qemu_user
