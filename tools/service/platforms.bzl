"""The platforms that images are made for."""

ARCHITECTURES = ["amd64", "arm64"]

# Architecture, as Debian and OCI name it → platform.
PLATFORMS = {architecture: Label(":linux_" + architecture) for architecture in ARCHITECTURES}

# The architecture of the platform that is built for.
HOST = select({
    "@platforms//cpu:aarch64": "arm64",
    "@platforms//cpu:x86_64": "amd64",
})
