"""The running service conforms to its OpenAPI document for valid and invalid requests.

Schemathesis derives the requests from the document; Hypothesis generates the same ones each time,
so that failures are reproducible.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks
from tests.support import servers, web
from tests.support.audit import VIDEOS
from tests.support.servers import Process

EXAMPLES = 12
# Not checked: that everything matching the schema is accepted, because a schema cannot express what
# a video is, which cursors are valid, or which regions lie within the frame; and the schema of
# single events in streams, which OpenAPI 3.1 cannot express.
EXCLUDED: list[CheckFunction] = [checks.positive_data_acceptance]
EXCLUDED_FOR_STREAMS: list[CheckFunction] = [*EXCLUDED, checks.response_schema_conformance]

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[tuple[str, Process]]:
    """Run a service with one video that has events."""
    home = tmp_path_factory.mktemp("description")
    variables = {
        "MAX_UPLOAD_BYTES": "1MiB",
        "IMPORT_DIR": str(clip.parent),
        "WEBHOOK_HOSTS": "hooks.example.com",
    }
    with servers.api(home / "data", log=home / "log", variables=variables) as (url, process):
        web.post(
            url + VIDEOS, files={"file": ("a.mp4", clip.read_bytes())}, timeout=60
        ).raise_for_status()
        yield url, process


def test_every_operation_conforms_to_the_openapi_document(service: tuple[str, Process]) -> None:
    url, process = service
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    # Resumable uploads refuse requests without their protocol's header first, with 412.
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "412"]
    failures: list[str] = []
    answered: Counter[str] = Counter()

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        excluded = EXCLUDED_FOR_STREAMS if operation.path.endswith("/progress") else EXCLUDED

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(
            case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        )
        def run(case: Case[Any]) -> None:
            response = case.call(timeout=30)
            answered[case.operation.label] += 1
            try:
                case.validate_response(response, excluded_checks=excluded)  # noqa: B023 - called within the loop
            except FailureGroup as group:
                failures.extend(f"{case.as_curl_command()}: {one}" for one in group.exceptions)

        run()
    assert failures == []
    assert len(answered) == sum(len(methods) for methods in schema.raw_schema["paths"].values())
    assert '"status": 5' not in process.output()
