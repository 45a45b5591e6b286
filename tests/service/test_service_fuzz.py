"""The short form of the fuzzing campaign: a little of everything, the same in every run."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.service.contract import DIALECTS, PREFIX
from tests.campaign.fuzz_service import fuzz

CALLS = (
    "POST {prefix}/v1/images/generations",
    "GET {prefix}/v1/tasks/{{task_id}}",
    "POST {prefix}/v1/tasks/batch",
    "GET {prefix}/v1/tasks",
    "GET {prefix}/v1/credits",
    "POST {prefix}/api/v1/files/upload/stream",
    "POST {prefix}/api/v1/files/upload/base64",
    "POST {prefix}/api/v1/files/upload/url",
    "GET {prefix}/api/v1/files/quota",
    "DELETE {prefix}/api/v1/files/{{file_id}}",
)


def test_the_service_does_what_its_schema_says(tmp_path: Path) -> None:
    """Every operation, with what fits and what does not: no server error, and nothing unpublished."""
    found = fuzz(tmp_path, examples=4, seed=1)
    assert found.wrong == ()
    asked = {call.format(prefix=PREFIX[dialect]) for dialect in DIALECTS for call in CALLS}
    assert asked | {"GET /files/{name}", "GET /uploads/{name}"} <= found.operations
    assert found.requests > 1000
