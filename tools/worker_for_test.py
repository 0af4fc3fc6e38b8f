"""A worker for tests, spoken to as Bazel does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class Worker:
    """A tool that was started as a worker; `send` and `ask` do what Bazel does."""

    def __init__(self, tool: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(tool), "--persistent_worker"],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, line: bytes) -> None:
        """Send a line."""
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def ask(self, *arguments: str, number: int = 0) -> dict[str, Any]:
        """Send a request and return the reply."""
        assert self.process.stdout
        # As Bazel writes it, which leaves out what is zero.
        request: dict[str, Any] = {"arguments": arguments, "inputs": [{"path": "x", "digest": "y"}]}
        self.send(json.dumps(request | ({"requestId": number} if number else {})).encode())
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return reply

    def end(self) -> tuple[int, bytes, bytes]:
        """End its input; return the exit code and what is left of its output and errors."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err
