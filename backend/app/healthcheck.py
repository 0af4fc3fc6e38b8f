"""The container's healthcheck: `python3 -m app.healthcheck`.

Request http://127.0.0.1:$PORT/health (PORT, else UVICORN_PORT, else 8000). Exit with 0 only if the
service reports that it is healthy, otherwise with 1 and one line on standard error. Import little
of the standard library and nothing else, because it runs every few seconds.
"""

import http.client
import json
import os
import sys

TIMEOUT_S = 4.0  # below the image's healthcheck timeout, so that the reason is still reported


def find_problem(port: int) -> str | None:
    """Return what is wrong with the service on `port`, or None if it is healthy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no response on port {port}: {error}"
    finally:
        connection.close()
    try:
        document = json.loads(body)
        status = document.get("status") if isinstance(document, dict) else None
    except ValueError:
        status = None
    if response.status == http.client.OK and status == "healthy":
        return None
    return f"port {port} responded with status {response.status}: {body[:500]}"


def main(environment: dict[str, str]) -> int:
    """Check once; return 0 if healthy, otherwise 1."""
    text = environment.get("PORT") or environment.get("UVICORN_PORT") or "8000"
    problem = find_problem(int(text)) if text.isdecimal() else f"PORT: {text!r} is not a number"
    if problem is not None:
        sys.stderr.write(f"healthcheck: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(dict(os.environ)))
