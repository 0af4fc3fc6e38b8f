"""A registry with the referrers API: a thin front of the real one, by distribution-spec 1.1.

It records the subject of every manifest stored through it, reports it (OCI-Subject), and lists
them in pages at /v2/<name>/referrers/<digest>. All bytes are kept by the real registry behind it.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tools.image.layouts_for_test import digest_of
from tools.registry.proxy_for_test import Fault, FaultyHandler, Proxy, Seen, proxying

_REFERRERS = re.compile(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/[^/]+")
_INDEX = "application/vnd.oci.image.index.v1+json"
_PAGE = 2


@contextmanager
def referrers_front(
    upstream: int, decide: Callable[[Seen], Fault | None] = lambda _: None
) -> Iterator[Proxy]:
    """Run a front of the registry on port `upstream`."""
    listed: dict[tuple[str, str], dict[str, dict[str, object]]] = {}

    class Handler(FaultyHandler):
        def _pass_on(self, fault: Fault) -> None:
            parts = urllib.parse.urlsplit(self.path)
            wanted = _REFERRERS.fullmatch(parts.path)
            stored = _MANIFEST.fullmatch(parts.path)
            if wanted and self.command == "GET":
                self._list(wanted[1], wanted[2], urllib.parse.parse_qs(parts.query))
            elif stored and self.command == "PUT":
                self._store(stored[1])
            else:
                super()._pass_on(fault)

        def _list(self, name: str, subject: str, query: dict[str, list[str]]) -> None:
            entries = list(listed.get((name, subject), {}).values())
            start = int(query.get("from", ["0"])[0])
            page = entries[start : start + _PAGE]
            headers = {"Content-Type": _INDEX}
            if start + _PAGE < len(entries):
                headers["Link"] = (
                    f'</v2/{name}/referrers/{subject}?from={start + _PAGE}>; rel="next"'
                )
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": page}
            self._answer(200, headers, json.dumps(index).encode())

        def _store(self, name: str) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = self.ask(data)
            manifest = json.loads(data)
            if status == 201 and "subject" in manifest:
                subject = manifest["subject"]["digest"]
                headers["OCI-Subject"] = subject
                digest = digest_of(data)
                entry = {
                    "mediaType": self.headers["Content-Type"],
                    "digest": digest,
                    "size": len(data),
                    "artifactType": manifest.get("artifactType"),
                    "annotations": manifest.get("annotations", {}),
                }
                listed.setdefault((name, subject), {})[digest] = entry
            self._answer(status, headers, body)

    with proxying(upstream, decide, handler=Handler) as proxy:
        yield proxy
