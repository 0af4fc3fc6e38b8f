"""The links every root file system of Debian 12 has and no package ships.

debootstrap makes the usr-merge links before it unpacks anything, and base-files' postinst turns
/var/run and /var/lock into links. From Debian 13 on base-files itself ships them, so here they come
with base-files too: in the layer that holds it, which is the lowest, so that no later layer can
write to a path whose link is missing.
"""

from tools.linux.architectures import ARCHITECTURES

CARRIER = "base-files"

# What base-files' postinst replaces directories of the package by, in `migrate_directory`.
VAR_LINKS = {
    "var/lock": "/run/lock",
    "var/run": "/run",
}


def root_links(architecture: str) -> dict[str, str]:
    """Return path → target of the links of a root for a Debian architecture.

    Raise KeyError for an unknown architecture.
    """
    usr_merge = {name: f"usr/{name}" for name in ARCHITECTURES[architecture].merged}
    return usr_merge | VAR_LINKS
