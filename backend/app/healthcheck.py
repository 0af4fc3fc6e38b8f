"""The container's healthcheck: `python3 -m app.healthcheck`.

Asks http://127.0.0.1:$PORT/health (PORT, else UVICORN_PORT, else 8000) and exits 0 only when the
service says it is healthy, else 1 with one line on standard error. Standard library only, and
little of it, because it runs every few seconds.
"""

import http.client
import json
import os
import sys

TIMEOUT_S = 4.0  # less than the image allows the whole check, so that the reason is still told


def problem(port: int) -> str | None:
    """Return what is wrong with the service on `port`, or None when it is healthy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        body = reply.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {error}"
    finally:
        connection.close()
    try:
        document = json.loads(body)
        status = document.get("status") if isinstance(document, dict) else None
    except ValueError:
        status = None
    if reply.status == http.client.OK and status == "healthy":
        return None
    return f"port {port} answers {reply.status}: {body[:500]}"


def main(environment: dict[str, str]) -> int:
    """Check once; 0 is healthy, 1 is not."""
    text = environment.get("PORT") or environment.get("UVICORN_PORT") or "8000"
    found = problem(int(text)) if text.isdecimal() else f"PORT: {text!r} is not a number"
    if found is not None:
        sys.stderr.write(f"healthcheck: {found}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(dict(os.environ)))
