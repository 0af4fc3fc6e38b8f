"""commandTests: setup, the command and teardown in one new container, and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.cli import ToolError
from tools.container.plan import Bind
from tools.container.run import Completed, SpawnError
from tools.structure_test.checks import Outcome, known_env, patterns, printable
from tools.structure_test.env_file import parse_env_file
from tools.structure_test.go_text import expand
from tools.structure_test.image_under_test import ImageUnderTest
from tools.structure_test.options import Options, Session
from tools.structure_test.schema import CommandTest, Config, RunOptions


def check_command(
    subject: ImageUnderTest,
    test: CommandTest,
    config: Config,
    *,
    source: str,
    timeout: float,
    environ: Mapping[str, str],
) -> Outcome:
    """Run setup, the command and teardown in one new container.

    `timeout` is for each of them, in seconds. Raise ToolError.
    """
    known = known_env(subject, config.global_env_vars)
    env = {item.key: known[item.key] for item in config.global_env_vars}
    env |= _option_env(config.container_run_options, source, environ)
    env |= {item.key: item.value for item in test.env_vars}
    run = config.container_run_options
    options = Options(
        env=env,
        user=run.user,
        binds=tuple(_bind(text, source) for text in run.bind_mounts),
        privileged=run.privileged,
        tty=run.allocate_tty,
        capabilities=run.capabilities,
    )
    with subject.session(options) as session:
        for step in test.setup:
            error = _step(session, "setup", step, timeout)
            if error:
                return Outcome((error,))
        argv = [expand(item, known) for item in (test.command, *test.args)]
        try:
            result = session.run(argv, timeout=timeout)
        except SpawnError as error:
            # Engines report them by the exit codes of a shell, which a test may expect.
            result = Completed(b"", str(error).encode(), error.exit_code, 0.0)
        outcome = _judge(test, result, timeout)
        errors = [_step(session, "teardown", step, timeout) for step in test.teardown]
    found = (*outcome.errors, *(error for error in errors if error))
    return Outcome(found, outcome.stdout, outcome.stderr)


def _step(session: Session, what: str, argv: Sequence[str], timeout: float) -> str:
    """Run one setup or teardown command; return its error, "" when it succeeds."""
    try:
        result = session.run(argv, timeout=timeout)
    except SpawnError as error:
        return f"{what} {list(argv)!r}: {error}"
    if result.timed_out:
        return f"{what} {list(argv)!r}: timed out after {timeout:g} s and was killed"
    if result.exit_code:
        return f"{what} {list(argv)!r}: exit code {result.exit_code}: {printable(result.stderr)!r}"
    return ""


def _judge(test: CommandTest, result: Completed, timeout: float) -> Outcome:
    stdout, stderr = printable(result.stdout), printable(result.stderr)
    errors = []
    if result.timed_out:
        errors.append(f"the command timed out after {timeout:g} s and was killed")
    if result.overflowed:
        errors.append("the command exceeded the output limit and was killed")
    errors += patterns("stdout", stdout, test.expected_output, test.excluded_output)
    errors += patterns("stderr", stderr, test.expected_error, test.excluded_error)
    if result.exit_code != test.exit_code:
        errors.append(f"exit code: expected {test.exit_code}, found {result.exit_code}")
    return Outcome(tuple(errors), stdout, stderr)


def _option_env(run: RunOptions, source: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of envFile, then those of the caller's environment."""
    env: dict[str, str] = {}
    if run.env_file:
        path = Path(run.env_file)
        try:
            env = parse_env_file(path.read_bytes())
        except OSError as error:
            raise ToolError(f"{source}: envFile {path}: {error.strerror}") from error
        except ToolError as error:
            raise ToolError(f"{source}: envFile {path}, {error}") from error
    return env | {name: environ[name] for name in run.env_vars if name in environ}


def _bind(text: str, source: str) -> Bind:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts) or parts[2:] not in ([], ["ro"], ["rw"]):
        raise ToolError(
            f"{source}: bindMounts: wanted SOURCE:TARGET or SOURCE:TARGET:ro, found {text!r}"
        )
    return Bind(Path(parts[0]).absolute(), parts[1], parts[2:] == ["ro"])
