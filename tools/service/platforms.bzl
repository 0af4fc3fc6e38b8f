"""The platforms that images are made for."""

ARCHITECTURES = ["amd64", "arm64"]

# Architecture, as Debian and OCI name it → platform.
PLATFORMS = {architecture: Label(":linux_" + architecture) for architecture in ARCHITECTURES}

# Labels, because a string in a macro means the repository that the caller knows by that name, if any.
_CPUS = {
    "amd64": Label("@platforms//cpu:x86_64"),
    "arm64": Label("@platforms//cpu:aarch64"),
}

def by_architecture(template):
    """Return what `template` says for the architecture of the platform that is built for.

    Args:
      template: text in which `{}` stands for the architecture.

    Returns:
      A select of strings.
    """
    return select({_CPUS[architecture]: template.format(architecture) for architecture in ARCHITECTURES})

# The architecture of the platform that is built for.
HOST = by_architecture("{}")
