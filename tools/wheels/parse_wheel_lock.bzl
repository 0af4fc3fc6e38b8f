"""`parse_wheel_lock`: the format of tools/wheels/lockfile.py, for repository rules."""

_LOCK_AGAIN = "lock again with the command in the first lines of the lock"

def parse_wheel_lock(text, source):
    """Read a lock in the format that tools/wheels/lockfile.py writes.

    Args:
      text: the lock's text.
      source: names the lock in errors.

    Returns:
      A list of dictionaries with the keys name, requirement, pin, filename and sha256; `requirement` is
      the whole line with extras and hash, `pin` is name==version.
    """
    wheels = []
    filename = None
    line = None
    for raw in text.split("\n"):
        if raw.startswith("# wheel: "):
            filename = raw.removeprefix("# wheel: ")
        elif raw.endswith(" \\"):
            line = raw.removesuffix(" \\")
        elif raw.startswith("    --hash=sha256:"):
            if not filename or not line or "==" not in line:
                fail("{}: {} has no `# wheel:` comment and pin above it; {}".format(source, raw.strip(), _LOCK_AGAIN))
            full_name, _, version = line.partition("==")
            name = full_name.partition("[")[0]
            wheels.append({
                "filename": filename,
                "name": name,
                "pin": "{}=={}".format(name, version),
                "requirement": "{} {}".format(line, raw.strip()),
                "sha256": raw.strip().removeprefix("--hash=sha256:"),
            })
            filename = None
            line = None
        elif raw and not raw.startswith("#"):
            fail("{}: unexpected line {}; {}".format(source, repr(raw), _LOCK_AGAIN))
    return wheels
