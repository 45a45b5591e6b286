"""Every request that our client sends is one that the published schema allows.

The client runs against a real service on loopback; what arrives is recorded and compared with `/openapi.json`
by a validator that neither of the two knows.
"""

from __future__ import annotations

import asyncio
import email
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jsonschema_rs
import pytest
from PIL import Image

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.model import Request, TaskMade
from nanobanana_batch.providers.base import Capabilities, Rejected, Uploaded
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.tasks.api import TaskApi, open_task_api
from nanobanana_batch.service.app import make_app
from tests.service import callback_world
from tests.service.callback_world import Service, World, serving
from tests.service.test_http_paid import list_since

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from nanobanana_batch.catalog import ModelRules
    from nanobanana_batch.service.network import Network
    from nanobanana_batch.service.options import ServiceOptions

PREFIX = {"evolink": "", "unified": "/unified"}
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
IMAGES = (
    "https://images.example.com/cat.png",
    "http://images.example.com:8443/a/b%20c/d.JPEG?width=10&x=/?",
    "https://192.0.2.7/u_v~w.webp",
)


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """Around the application: has the whole request before it, whether the application reads it or not."""

    def __init__(self, app: ASGIApp, seen: list[Sent]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        body = b"".join(message.get("body", b"") for message in messages)
        self._seen.append(Sent(scope["method"], path, query, headers, body))

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


class Published:
    """The schema as the service publishes it, and what is wrong with a request by it."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._paths = {
            re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))): methods
            for path, methods in sorted(schema["paths"].items(), key=lambda item: "{" in item[0])
        }

    def faults(self, sent: Sent) -> list[str]:
        for pattern, methods in self._paths.items():
            found = pattern.fullmatch(sent.path)
            if found and sent.method.lower() in methods:
                return list(_faults(methods[sent.method.lower()], sent, found.groupdict()))
        return [f"{sent.method} {sent.path} is not published"]


def _faults(operation: dict[str, Any], sent: Sent, in_path: dict[str, str]) -> Iterator[str]:
    query = dict(parse_qsl(sent.query, keep_blank_values=True))
    given = {"path": in_path, "query": query, "header": sent.headers}
    for parameter in operation.get("parameters", []):
        yield from _parameter_faults(parameter, given[parameter["in"]])
    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    yield from (f"query {name} is not published" for name in query if name not in known)
    is_secured, key = bool(operation.get("security")), sent.headers.get("authorization", "")
    if is_secured != bool(re.fullmatch("Bearer [!-~]+", key)):
        yield "the key is missing" if is_secured else "the key goes where none is asked for"
    yield from _body_faults(operation.get("requestBody"), sent)


def _parameter_faults(parameter: dict[str, Any], given: dict[str, str]) -> Iterator[str]:
    name = parameter["name"].lower() if parameter["in"] == "header" else parameter["name"]
    if name in given:
        value: Any = given[name]
        if parameter["schema"].get("type") == "integer" and re.fullmatch("-?[0-9]+", value):
            value = int(value)
        yield from _schema_faults(parameter["schema"], value, name)
    elif parameter["required"]:
        yield f"{name} is missing"


def _body_faults(published: dict[str, Any] | None, sent: Sent) -> Iterator[str]:
    if published is None:
        if sent.body:
            yield "a body is not published"
        return
    media_type = sent.headers.get("content-type", "").partition(";")[0]
    if media_type not in published["content"]:
        yield f"media type {media_type!r} is not published"
    elif media_type == "application/json":
        schema = published["content"][media_type]["schema"]
        yield from _schema_faults(schema, json.loads(sent.body), "body")
    else:
        yield from _form_faults(published["content"][media_type], sent)


def _form_faults(content: dict[str, Any], sent: Sent) -> Iterator[str]:
    """By the mail parser of the standard library."""
    head = f"Content-Type: {sent.headers['content-type']}\r\n\r\n".encode()
    values: dict[str, str] = {}
    for part in email.message_from_bytes(head + sent.body).walk():
        name = part.get_param("name", header="content-disposition")
        if part.is_multipart() or not isinstance(name, str):
            continue
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        values[name] = "bytes" if part.get_filename() else payload.decode()
        allowed = content["encoding"].get(name, {}).get("contentType")
        if allowed and part.get_content_type() not in allowed.split(", "):
            yield f"{name} is {part.get_content_type()}"
    yield from _schema_faults(content["schema"], values, "form")


def _schema_faults(schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(value):
        yield f"{where}: {error.message}"


@dataclass(frozen=True)
class Desk:
    """A service whose visitors are recorded."""

    service: Service
    seen: list[Sent]

    @property
    def published(self) -> Published:
        return Published(self.service.http.get("/openapi.json").json())

    def of_client(self) -> list[Sent]:
        """What came since the last look, without what the test itself asked."""
        found = [sent for sent in self.seen if sent.headers.get("user-agent") != "test"]
        self.seen.clear()
        return found


@contextmanager
def desk(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Desk]:
    seen: list[Sent] = []

    def recorded(chosen: ServiceOptions, network: Network) -> ASGIApp:
        return Recorder(make_app(chosen, network), seen)

    monkeypatch.setattr(callback_world, "make_app", recorded)
    with serving(folder / "data", World().network(), **options) as service:
        service.http.headers["User-Agent"] = "test"
        seen.clear()
        yield Desk(service, seen)


def whole(rules: ModelRules) -> Iterator[Request]:
    """Requests that say as little as possible to a model, and all that may be said, each value once."""
    name = rules.name
    yield Request(name, "as little as possible")
    count = rules.max_images or 3
    most = Request(
        name,
        "everything \N{BANANA}",
        images=(IMAGES * 5)[:count],
        web_search=True if rules.web_search else None,
        image_search=False if rules.image_search else None,
    )
    values = {
        "aspect_ratio": rules.aspect_ratios,
        "resolution": rules.resolutions,
        "output_format": rules.output_formats,
        "thinking_level": rules.thinking_levels,
    }
    for number in range(max(map(len, values.values()))):
        chosen: dict[str, Any] = {
            field: those[number % len(those)] for field, those in values.items() if those
        }
        yield replace(most, **chosen)


def run_client(service: Service, dialect: str, act: Any) -> None:
    profile = load_profile(dialect)
    address = check_address(profile, f"{service.http.base_url!s}".rstrip("/") + PREFIX[dialect])

    async def run() -> None:
        async with open_task_api(profile, address, "key-of-this-test", submits_at_once=4) as api:
            await act(api)

    asyncio.run(run())


async def act_all(dialect: str, folder: Path, api: TaskApi) -> None:
    """All that a run may ask: submits of all kinds, reads, the list, the account, files, links."""
    offers: Capabilities = api.capabilities
    tasks = []
    for number, request in enumerate(r for rules in load_catalog().models(dialect) for r in whole(rules)):
        url = f"https://example.com/hooks/{number}" if offers.offers_callbacks and number % 2 else None
        outcome = await api.submit(api.encode(request, url), f"{number:032x}")
        assert isinstance(outcome, TaskMade), (request, outcome)
        tasks.append(outcome.task_id)
    assert (await api.read_many(tasks[:50])).failure == ""
    assert len((await list_since(api, 0.0)).tasks) == len(tasks)
    assert (await api.read_account()).is_up
    if offers.offers_uploads:
        await act_files(folder, api)


async def act_files(folder: Path, api: TaskApi) -> None:
    for kind, media_type in MEDIA_TYPES.items():
        out = BytesIO()
        Image.new("RGB", (8, 8), (1, 2, 3)).save(out, kind)
        (folder / f"it's a picture.{kind}").write_bytes(out.getvalue())
        kept = await api.upload(folder / f"it's a picture.{kind}", media_type)
        assert isinstance(kept, Uploaded), kept
        async with api.open_link(kept.url) as body:
            assert b"".join([piece async for piece in body.pieces()]) == out.getvalue()
        assert await api.delete_upload(kept.file_id)


@pytest.mark.parametrize("dialect", ["evolink", "unified"])
def test_every_request_of_a_client_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    with desk(tmp_path, monkeypatch) as there:
        published = there.published
        run_client(there.service, dialect, partial(act_all, dialect, tmp_path))
        sent = there.of_client()
    assert [(one, faults) for one in sent if (faults := published.faults(one))] == []
    routes = {f"{one.method} {re.sub('task-unified-[^/]+|file-[0-9a-f]+', ':id', one.path)}" for one in sent}
    root = PREFIX[dialect]
    asked = {f"POST {root}/v1/images/generations", f"POST {root}/v1/tasks/batch", f"GET {root}/v1/tasks"}
    asked |= {f"GET {root}/v1/credits"}
    if dialect == "evolink":
        asked |= {"POST /api/v1/files/upload/stream", "DELETE /api/v1/files/:id"}
    assert asked <= routes
    assert all("idempotency-key" in one.headers for one in sent if one.path.endswith("/generations"))


def test_single_reads_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where batches are not offered."""

    async def act(api: TaskApi) -> None:
        outcome = await api.submit(api.encode(Request("nano-banana-beta", "x")), "0123456789abcdef")
        assert isinstance(outcome, TaskMade)
        assert (await api.read_many([outcome.task_id])).reports

    with desk(tmp_path, monkeypatch, batch_reads=False) as there:
        published = there.published
        run_client(there.service, "evolink", act)
        sent = there.of_client()
    assert [faults for one in sent if (faults := published.faults(one))] == []
    assert any(re.fullmatch("/v1/tasks/task-unified-[^/]+", one.path) for one in sent)


def test_a_request_that_is_not_published_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client would never send: the service refuses it, and so does the validator."""

    async def act(api: TaskApi) -> None:
        body = b'{"model":"nano-banana-beta","prompt":"x","aspect_ratio":"1:1"}'
        assert isinstance(await api.submit(body, "0123456789abcdef"), Rejected)

    with desk(tmp_path, monkeypatch) as there:
        published = there.published
        run_client(there.service, "evolink", act)
        (sent,) = there.of_client()
    assert published.faults(sent)
    good = replace(sent, body=b'{"model":"nano-banana-beta","prompt":"x","size":"1:1"}')
    assert published.faults(good) == []
    no_key = {name: value for name, value in good.headers.items() if name != "authorization"}
    for wrong in (
        replace(good, body=b'{"model":"nano-banana-beta"}'),
        replace(good, body=b'{"model":"nano-banana-beta","prompt":"x","size":"1:3"}'),
        replace(good, body=b'{"model":"nano-banana-beta","prompt":"x","image_urls":["cat.gif"]}'),
        replace(good, path="/v1/images"),
        replace(good, path="/unified/v1/images/generations"),
        replace(good, method="PUT"),
        replace(good, query="n=1"),
        replace(good, headers=good.headers | {"idempotency-key": "short"}),
        replace(good, headers=good.headers | {"content-type": "text/plain"}),
        replace(good, headers=no_key),
        replace(good, method="GET", path="/v1/tasks", body=b"", query="page_size=500"),
        replace(good, method="GET", path="/v1/tasks/task-1", body=b""),
        replace(good, method="GET", path="/v1/credits"),
        replace(good, method="GET", path="/files/link.png", body=b""),
    ):
        assert published.faults(wrong), wrong
