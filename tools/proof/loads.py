r"""Prove in a running image that what should load does: libraries, and every Python module.

    python3 -m tools.proof.loads --image bazel-bin/backend/image [--allowlist imports.yaml]

Its own dynamic linker has to load for each ELF object exactly what the closure test's replay says,
and its own Python has to import every module of every wheel and of the standard library. An image
of another architecture than the machine's needs an emulator. Returns 1 with each difference and
failure.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tools.cli import tool
from tools.container.config import image_user, process_env, read_run_config
from tools.container.plan import Bind, Spec
from tools.container.run import Container
from tools.image.cache import unpacked
from tools.image.image_files import ImageFiles, is_linker_file, read_image
from tools.proof import linker_trace, module_imports
from tools.proof.allowlist import Allowlist, read_allowlist


def check(
    image: ImageFiles, allowlist: Allowlist, scratch: Path, *, emulator: Path | None = None
) -> list[str]:
    """Return a sentence for each thing that does not load as it should, and print the counts."""
    shared = scratch / "shared"
    shared.mkdir()
    settings = read_run_config(image.image.config)
    problems: list[str] = []
    with unpacked(image.image.layers, scratch=scratch) as rootfs:
        user = image_user(rootfs, settings.user)
        spec = Spec(
            rootfs=rootfs,
            user=user,
            binds=(Bind(shared, module_imports.SHARED),),
            architecture=image.architecture,
            emulator=emulator,
        )
        with Container(spec) as container:
            count, differences = linker_trace.compare(image, container)
            print(
                f"{count} objects: the image's linker and the replay agree on all but "
                f"{len(differences)}"
            )
            for each in differences:
                problems.append(f"{each.path}: the linker loads something else than the replay:")
                problems += [f"    only the linker: {line}" for line in each.only_linker]
                problems += [f"    only the replay: {line}" for line in each.only_replay]
            imports = module_imports.import_all(
                module_imports.modules(image),
                container=container,
                shared=shared,
                env=process_env(settings, user, {}),
            )
            problems += module_imports.findings(imports, allowlist)
            print(
                f"{len(imports.names)} modules: {len(imports.failed)} failed; "
                f"{len(imports.optional)} want what is not installed: "
                f"{module_imports.optional_names(imports)}"
            )
    return problems + allowlist.idle()


@tool("loads")
def main(argv: list[str] | None = None) -> int:
    """Check the image of the command line: 0 when everything loads."""
    parser = argparse.ArgumentParser(
        description="Prove that an image's libraries and Python modules load in the image."
    )
    parser.add_argument("--image", type=Path, required=True, help="OCI layout directory")
    parser.add_argument(
        "--allowlist", type=Path, action="append", default=[], help="YAML list, with reasons"
    )
    parser.add_argument("--emulator", type=Path, help="static qemu-user for another architecture")
    options = parser.parse_args(argv)
    allowlist = read_allowlist(options.allowlist, kinds=module_imports.KINDS)
    image = read_image(
        options.image,
        keep=lambda path: is_linker_file(path) or module_imports.is_record(path),
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as scratch:
        problems = check(image, allowlist, Path(scratch), emulator=options.emulator)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
