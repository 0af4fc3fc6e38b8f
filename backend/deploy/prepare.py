"""Write what the deployment needs and git must not have: digests of images, and secrets.

    bazel run //backend/deploy:prepare -- --registry registry.example.com/video

images.env names the images for compose.yaml, kubernetes/images does for kustomize; both are written
anew by every call. secrets/ gets random passwords and the URLs that contain them; what is there
already is kept. The files are 0400 and, for root, of user 1000, who reads them in the containers.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.cli import ToolError, read_text, tool

USER = 1000
DEFAULT_REGISTRY = "localhost/pinned-image"
KUSTOMIZATION = """\
# Written by prepare.py: the images, by digest.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
"""


def image_variables(images: Mapping[str, str]) -> str:
    """Return images.env: BACKEND_IMAGE=… and so on, from name → reference by digest."""
    return "".join(f"{name.upper()}_IMAGE={image}\n" for name, image in sorted(images.items()))


def kustomization(images: Mapping[str, str]) -> str:
    """Return the component of kustomize that replaces each image's name by its reference."""
    parts = [(name, *image.rsplit("@", 1)) for name, image in sorted(images.items())]
    return KUSTOMIZATION + "".join(
        f"  - name: {name}\n    newName: {where}\n    digest: {digest}\n"
        for name, where, digest in parts
    )


def new_secrets() -> dict[str, str]:
    """Return the contents of the secret files; passwords need no quoting in a URL."""
    database, broker = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    hashed = hashlib.sha256(broker.encode()).hexdigest()
    return {
        "postgres_password": f"{database}\n",
        "database_url": f"postgresql://backend:{database}@postgres/backend\n",
        "broker_url": f"redis://backend:{broker}@redis:6379/0\n",
        # Redis has only the password's hash. Without it PING is possible, for the healthcheck.
        "redis_acl": (
            "user default reset on nopass +ping\n"
            f"user backend reset on #{hashed} ~* &* +@all -@admin -@dangerous +info\n"
        ),
    }


def write_secrets(directory: Path) -> bool:
    """Write all secrets, or none if all are there. Raise ToolError if only some of them are."""
    wanted = new_secrets()
    there = [name for name in wanted if (directory / name).exists()]
    if there:
        if len(there) < len(wanted):
            missing = ", ".join(sorted(set(wanted) - set(there)))
            raise ToolError(
                f"{directory} lacks {missing}, whose passwords are in the other files; restore "
                "them, or remove all files and give the servers new passwords"
            )
        return False
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in wanted.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(directory / name, flags, 0o400), "w") as stream:
            stream.write(text)
    return True


def give_to_reader(directory: Path) -> bool:
    """Make USER the secrets' owner; return False if this user cannot."""
    if os.getuid() != 0:
        return False
    try:
        for path in directory.iterdir():
            os.chown(path, USER, USER)
    except OSError:  # this root is one of a user namespace that lacks the user
        return False
    return True


def read_images(registry: str, digests: Mapping[str, Path]) -> dict[str, str]:
    """Return name → REGISTRY/NAME@DIGEST."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*", registry):
        raise ToolError(f"--registry: {registry!r} is not HOST[:PORT]/PATH without a tag")
    return {name: f"{registry}/{name}@{read_text(path).strip()}" for name, path in digests.items()}


@tool("prepare")
def main(argv: list[str] | None = None) -> None:
    """Write the files; see the module docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--registry",
        default=DEFAULT_REGISTRY,
        help=f"where the images were pushed, before /backend (default: {DEFAULT_REGISTRY})",
    )
    parser.add_argument(
        "--digest",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="an image's digest; repeated",
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of compose.yaml")
    flags = parser.parse_args(argv)
    digests = {name: Path(path) for name, _, path in (each.partition("=") for each in flags.digest)}
    images = read_images(flags.registry, digests)
    out = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."), flags.out)
    component = out / "kubernetes" / "images"
    component.mkdir(parents=True, exist_ok=True)
    (out / "images.env").write_text(image_variables(images), encoding="utf-8")
    (component / "kustomization.yaml").write_text(kustomization(images), encoding="utf-8")
    made = write_secrets(out / "secrets")
    sys.stdout.write(
        f"{out}: images.env, kubernetes/images, secrets {'made' if made else 'kept'}\n"
    )
    if made and not give_to_reader(out / "secrets"):
        sys.stdout.write(
            f"Give {out}/secrets/* to user {USER} of the containers, for instance with: "
            f"podman unshare chown {USER}:{USER} {out}/secrets/*\n"
        )


if __name__ == "__main__":
    sys.exit(main())
