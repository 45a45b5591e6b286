"""The service against its own published schema: what fits is taken, what does not is refused.

    python -m tests.campaign.fuzz_service --examples 300

No answer may be an error of the server; every answer has a status, a media type and a form that are
published; nothing is told without a key. Same seed, same requests. Nothing leaves this machine: the
service's names lead nowhere.
"""

from __future__ import annotations

import argparse
import base64
import logging
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from nanobanana_batch.service.options import Faults
from tests.service.callback_world import Service, World, serving

_KEY = "key-of-this-test"
_HOSTS = r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,5})?\.example\.com(:[1-9][0-9]{0,3})?"
_KINDS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP"}


@dataclass(frozen=True)
class Findings:
    """What was asked, and what was wrong with the answers."""

    requests: int
    operations: frozenset[str]
    wrong: tuple[str, ...]


def fuzz(folder: Path, examples: int, seed: int) -> Findings:
    """Ask a new service, `examples` requests of each kind to each operation."""
    (folder / "keys").write_text(_KEY)
    faults = Faults(lost_callback=1.0)
    options: dict[str, Any] = {"key_file": folder / "keys", "max_files": 1_000_000, "unlimited_credits": True}
    errors = _Errors()
    logging.getLogger("nanobanana_batch.service").addHandler(errors)
    try:
        with serving(folder / "data", World().network(), faults=faults, seed=seed, **options) as service:
            found = _asked(service, examples, seed)
    finally:
        logging.getLogger("nanobanana_batch.service").removeHandler(errors)
    return Findings(found.requests, found.operations, (*found.wrong, *errors.texts))


class _Errors(logging.Handler):
    """What went wrong behind the answers: a picture that could not be drawn, a worker that ended."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def _asked(service: Service, examples: int, seed: int) -> Findings:
    base_url = str(service.http.base_url).rstrip("/")
    _teach_formats(_uploaded(service))
    config = SchemathesisConfig.from_dict(_config(examples, seed))
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json", config=config)
    requests, operations, wrong = 0, set[str](), list[str]()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                requests += len(event.recorder.interactions)
                operations.add(event.recorder.label)
                wrong += _wrong(event)
            case events.NonFatalError():
                wrong.append(f"{event.label}: {event.value!r}")
            case events.FatalError():
                wrong.append(repr(event.exception))
    return Findings(requests, frozenset(operations), tuple(dict.fromkeys(wrong)))


def _wrong(event: events.ScenarioFinished) -> Iterator[str]:
    for checks in event.recorder.checks.values():
        for check in checks:
            if (info := check.failure_info) is not None:
                yield f"{event.recorder.label}: {check.name}: {info.failure}\n{info.code_sample}"


def _config(examples: int, seed: int) -> dict[str, Any]:
    # A form has no types: a list becomes the text of a list, which is a name like any other.
    form = {"include-path-regex": "upload/stream$", "checks": {"negative_data_rejection": {"enabled": False}}}
    return {
        "seed": seed,
        "headers": {"Authorization": f"Bearer {_KEY}"},
        "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True},
        "continue-on-failure": True,
        "workers": 1,
        "operations": [form],
    }


def _teach_formats(file_url: str) -> None:
    """What a schema cannot say of a value: that some bytes are a picture, and a host is a public one."""
    files = st.sampled_from([_picture(kind) for kind in _KINDS.values()])
    text = files.map(lambda file: base64.b64encode(file).decode())
    host, path = st.from_regex(_HOSTS, fullmatch=True), st.from_regex("[a-z0-9/._-]{0,20}", fullmatch=True)
    image = st.builds("https://{}/{}.{}".format, host, path, st.sampled_from(("png", "JPG", "jpeg?x=1")))
    schemathesis.openapi.format("image-url", image | st.just(file_url))
    schemathesis.openapi.format("callback-url", st.builds("https://{}/{}".format, host, path))
    schemathesis.openapi.format("file-url", st.just(file_url))
    schemathesis.openapi.format("binary", files)
    schemathesis.openapi.format("base64-image", text | text.map("data:image/png;base64,{}".format))
    for kind in ("png", "jpeg", "gif", "webp"):
        schemathesis.openapi.media_type(f"image/{kind}", files)


def _picture(kind: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (3, 2), (200, 120, 40)).save(out, kind)
    return out.getvalue()


def _uploaded(service: Service) -> str:
    files = {"file": ("seed.png", _picture("PNG"), "image/png")}
    reply = service.http.post("/api/v1/files/upload/stream", files=files)
    return str(reply.raise_for_status().json()["data"]["file_url"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), chosen.examples, chosen.seed)
    for text in found.wrong:
        print(text, end="\n\n")
    print(f"{found.requests} requests to {len(found.operations)} operations: {len(found.wrong)} wrong")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
