"""The settings table of the README, and its code."""

import base64
import hmac
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import BACKEND

from app.cli import settings_table
from app.services.signing import SigningKey, sign
from app.settings import Settings


def test_settings_table_is_up_to_date() -> None:
    text = (BACKEND / "README.md").read_text(encoding="utf-8")
    assert settings_table.replace_table(text) == text, (
        "run `python3 -m app.cli.settings_table --write README.md` in backend/"
    )


def test_every_setting_is_listed_with_its_default() -> None:
    lines = settings_table.table().splitlines()[2:]
    assert len(lines) == len(Settings.model_fields)
    assert "| `LEASE` | `30` |" in settings_table.table()
    assert "| `MAX_UPLOAD_BYTES` | `2GiB` |" in settings_table.table()
    assert "| `AUTO_MIGRATE` | `true` |" in settings_table.table()
    assert "| `DATABASE_URL` * | unset |" in settings_table.table()
    assert not any("None" in line for line in lines)


def test_file_without_markers_is_rejected() -> None:
    with pytest.raises(ValueError, match="markers not found"):
        settings_table.replace_table("nothing here")


def test_verification_of_webhooks_works_as_it_is_shown(tmp_path: Path) -> None:
    text = (BACKEND / "README.md").read_text(encoding="utf-8")
    code = text.partition("<!-- verification")[2].partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) == 5
    names: dict[str, Any] = {"base64": base64, "hmac": hmac, "Mapping": Mapping}
    exec(code, names)
    key, webhook = SigningKey(tmp_path), uuid.uuid4()
    secret, other = (key.new_secret(webhook, version=version) for version in (1, 2))
    body = b'{"type":"webhook.test"}'
    values: dict[str, Any] = {"message_id": "msg_1", "timestamp": 1_700_000_000, "body": body}
    signatures = [sign(each, **values) for each in (other, secret)]
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": " ".join(signatures),
    }
    assert names["is_genuine"](secret, headers, body)
    assert not names["is_genuine"](secret, headers, body + b" ")
    assert not names["is_genuine"](secret, headers | {"webhook-id": "msg_2"}, body)
    assert not names["is_genuine"](secret, headers | {"webhook-timestamp": "1700000001"}, body)
    assert not names["is_genuine"](secret, headers | {"webhook-signature": signatures[0]}, body)


def test_signature_is_that_of_the_specification() -> None:
    # The example of the libraries of Standard Webhooks.
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
