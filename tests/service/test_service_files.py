"""The files API: what is taken, how long it lives, and that a task can use it."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from nanobanana_batch.service.options import Faults

if TYPE_CHECKING:
    from tests.service.conftest import Api, Start, Until

FILES = "/api/v1/files"
KINDS = {"jpg": ("JPEG", "image/jpeg"), "png": ("PNG", "image/png"), "gif": ("GIF", "image/gif")}
KINDS["webp"] = ("WEBP", "image/webp")
FLASH = "gemini-3.1-flash-image-preview"
FIELDS = {
    "file_id",
    "file_name",
    "original_name",
    "file_size",
    "mime_type",
    "upload_path",
    "file_url",
    "download_url",
    "upload_time",
    "expires_at",
}


def picture(kind: str = "PNG", colour: tuple[int, int, int] = (255, 0, 255)) -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, kind)
    return out.getvalue()


def damaged() -> bytes:
    """A PNG with one wrong bit in its pixels."""
    content = bytearray(picture())
    content[content.index(b"IDAT") + 8] ^= 1
    return bytes(content)


def send(api: Api, content: bytes, name: str = "cat.png", prefix: str = "", **fields: str) -> httpx.Response:
    files = {"file": (name, content, "application/octet-stream")}
    return api.http.post(f"{prefix}{FILES}/upload/stream", files=files, data=fields)


def keep(api: Api, content: bytes | None = None) -> dict[str, Any]:
    reply = send(api, picture() if content is None else content)
    assert reply.status_code == 200, reply.text
    data: dict[str, Any] = reply.json()["data"]
    return data


def quota(api: Api) -> dict[str, int]:
    data: dict[str, int] = api.http.get(f"{FILES}/quota").json()["data"]
    return data


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.mark.parametrize("prefix", ["", "/unified"])
@pytest.mark.parametrize("extension", KINDS)
def test_an_image_is_kept_by_what_it_is(api: Api, extension: str, prefix: str) -> None:
    """Not by its name, nor by the type that the caller names."""
    kind, mime_type = KINDS[extension]
    content = picture(kind)
    reply = send(api, content, "misnamed.txt", prefix, uploadPath="references/cats", fileName="Katze 1")
    value = reply.json()
    assert (reply.status_code, value["success"], value["code"], set(value)) == (
        200,
        True,
        200,
        {"success", "code", "msg", "data"},
    )
    data = value["data"]
    assert set(data) == FIELDS
    assert (data["file_name"], data["original_name"]) == ("Katze 1", "misnamed.txt")
    assert (data["mime_type"], data["file_size"]) == (mime_type, len(content))
    assert data["upload_path"] == "references/cats"
    assert data["file_url"].startswith(f"{api.service.base_url}/uploads/")
    assert data["file_url"].endswith(f".{extension}")
    assert data["download_url"] == data["file_url"]
    shown = api.http.get(data["file_url"], headers={"Authorization": ""})
    assert (shown.content, shown.headers["Content-Type"]) == (content, mime_type)
    lifetime = datetime.fromisoformat(data["expires_at"]) - datetime.fromisoformat(data["upload_time"])
    assert lifetime.total_seconds() == 72 * 3600


@pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
def test_base64_is_bare_or_a_data_url(api: Api, before: str) -> None:
    body = {
        "base64_data": before + base64.b64encode(picture()).decode(),
        "file_name": "x",
        "upload_path": "a",
    }
    data = api.http.post(f"{FILES}/upload/base64", json=body).json()["data"]
    assert (data["file_name"], data["upload_path"], data["original_name"]) == ("x", "a", "")
    assert api.http.get(data["file_url"]).content == picture()


def test_a_head_request_of_a_file(api: Api) -> None:
    data = keep(api)
    assert api.http.head(data["file_url"]).headers["Content-Length"] == str(data["file_size"])


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"%PDF-1.7", picture("BMP"), picture("TIFF"), picture()[:20], damaged()]
)
def test_what_is_no_image_is_400(api: Api, content: bytes) -> None:
    assert code(send(api, content)) == (400, "invalid_request")
    encoded = {"base64_data": base64.b64encode(content).decode()}
    assert code(api.http.post(f"{FILES}/upload/base64", json=encoded)) == (400, "invalid_request")
    assert quota(api)["used_files"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"base64_data": 7},
        {"base64_data": "not base64!"},
        {"base64_data": "AAAA", "more": 1},
        {"base64_data": "AAAA", "file_name": "a/b"},
        {"base64_data": "AAAA", "file_name": ""},
        {"base64_data": "AAAA", "upload_path": "../up"},
        {"base64_data": "AAAA", "upload_path": "/root"},
        {"base64_data": "AAAA", "upload_path": "a" * 201},
    ],
)
def test_a_wrong_base64_request_is_400(api: Api, body: dict[str, Any]) -> None:
    assert code(api.http.post(f"{FILES}/upload/base64", json=body)) == (400, "invalid_request")


def test_half_a_surrogate_pair_is_400_wherever_it_stands(api: Api) -> None:
    """JSON can say it; neither a database nor a reply can hold it."""
    encoded = base64.b64encode(picture()).decode()
    body = b'{"base64_data": "%s", "file_name": "\\ud800"}' % encoded.encode()
    assert code(api.http.post(f"{FILES}/upload/base64", content=body)) == (400, "invalid_request")
    assert code(api.http.post("/v1/tasks/batch", content=b'{"task_ids": ["\\udc00"]}'))[0] == 400
    assert api.http.post("/v1/tasks/batch", content=b'{"task_ids": ["\\ud83d\\ude00"]}').status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\n\r\nname="file"\r\n--b--'),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n--b--'),
        (
            "multipart/form-data; boundary=b",
            b'pre\r\n--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n',
        ),
        ("multipart/form-data; boundary=\xe4", b"--\xe4--"),
        ("multipart/mixed; boundary=b", b"--b--"),
    ],
)
def test_a_form_that_is_none_is_400(api: Api, content_type: str, body: bytes) -> None:
    headers = {"Content-Type": content_type.encode("latin-1")}
    reply = api.http.post(f"{FILES}/upload/stream", content=body, headers=headers)  # type: ignore[arg-type]
    assert code(reply) == (400, "invalid_request")


@pytest.mark.parametrize(
    "parts",
    [
        [("file", picture()), ("file", picture())],
        [("file", picture()), ("more", b"x")],
        [("uploadPath", b"a")],
        [("file", picture()), ("uploadPath", b"../up")],
        [("file", picture()), ("uploadPath", b"a"), ("uploadPath", b"b")],
        [("file", picture()), ("fileName", b"\xff")],
        [("file", picture()), ("fileName", b"a\\b")],
    ],
)
def test_a_form_with_wrong_fields_is_400(api: Api, parts: list[tuple[str, bytes]]) -> None:
    body = b"".join(_part(name, value) for name, value in parts) + b"--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = api.http.post(f"{FILES}/upload/stream", content=body, headers=headers)
    assert code(reply) == (400, "invalid_request")
    assert quota(api)["used_files"] == 0


@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"", b"--b\r\n"), (b"x\r\n", b"--b--")])
def test_a_form_without_its_begin_or_end_is_400(api: Api, before: bytes, after: bytes) -> None:
    """It may be half a file."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = before + _part("file", picture()) + after
    assert code(api.http.post(f"{FILES}/upload/stream", content=body, headers=headers))[0] == 400
    assert quota(api)["used_files"] == 0


def _part(name: str, value: bytes) -> bytes:
    filename = '; filename="a.png"' if name == "file" else ""
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + value + b"\r\n"
    )


def test_bytes_that_look_like_a_form_arrive_as_they_are(api: Api) -> None:
    """Line ends of all kinds, dashes and other boundaries within the file, and at its very end."""
    content = picture("JPEG") + b"\r\n--b\r\n--bound\n\r--\r\n\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
    body = _part("file", content).replace(b"--b\r\nContent", b"--boundary\r\nContent") + b"--boundary--"
    data = api.http.post(f"{FILES}/upload/stream", content=body, headers=headers).json()["data"]
    assert api.http.get(data["file_url"]).content == content


def test_no_name_of_a_caller_becomes_a_path(api: Api) -> None:
    data = send(api, picture(), "../../../etc/passwd").json()["data"]
    assert data["original_name"] == "passwd"
    folder = api.service.options.data_dir / "uploads"
    assert f"{data['file_url'].rpartition('/')[2]}" in {path.name for path in folder.iterdir()}


def test_a_file_that_is_too_large_is_413(start: Start) -> None:
    api = start(max_file_bytes=1000)
    large = picture() + b"x" * 1000
    assert code(send(api, large)) == (413, "request_too_large_error")
    encoded = {"base64_data": base64.b64encode(large).decode()}
    assert code(api.http.post(f"{FILES}/upload/base64", json=encoded))[0] == 413
    assert code(send(api, bytes(200_000)))[0] == 413
    assert keep(api)["file_size"] == len(picture())


def test_every_call_needs_a_key_and_links_none(api: Api) -> None:
    no_key = {"Authorization": ""}
    for method, path in (
        ("POST", "/upload/stream"),
        ("POST", "/upload/base64"),
        ("POST", "/upload/url"),
        ("GET", "/quota"),
        ("DELETE", "/file-000000000000000000000000"),
    ):
        reply = api.http.request(method, f"{FILES}{path}", headers=no_key)
        assert code(reply) == (401, "unauthorized"), path


def test_a_full_account_takes_no_more_until_one_is_deleted(start: Start) -> None:
    api = start(max_files=2)
    first, _ = keep(api), keep(api)
    assert quota(api) == {"used_files": 2, "max_files": 2, "remain_files": 0}
    reply = send(api, picture())
    assert code(reply) == (402, "quota_exceeded")
    gone = api.http.delete(f"{FILES}/{first['file_id']}")
    assert gone.json() == {"success": True, "code": 200, "msg": "success", "data": None}
    assert quota(api)["remain_files"] == 1
    assert api.http.get(first["file_url"]).status_code == 404
    assert code(api.http.delete(f"{FILES}/{first['file_id']}")) == (404, "file_not_found")
    keep(api)
    names = {path.name for path in (api.service.options.data_dir / "uploads").iterdir()}
    assert len(names) == 2


def test_a_key_sees_its_own_files_only(start: Start) -> None:
    api = start(max_files=1)
    data = keep(api)
    other = {"Authorization": "Bearer somebody-else"}
    reply = api.http.delete(f"{FILES}/{data['file_id']}", headers=other)
    assert code(reply) == (404, "file_not_found")
    theirs = api.http.get(f"{FILES}/quota", headers=other).json()["data"]
    assert theirs == {"used_files": 0, "max_files": 1, "remain_files": 1}
    assert api.http.get(data["file_url"]).status_code == 200


def test_files_survive_a_kill(start: Start) -> None:
    api = start()
    data = keep(api)
    api.service.kill()
    again = start()
    path = httpx.URL(data["file_url"]).path
    assert again.http.get(path).content == picture()
    assert quota(again)["used_files"] == 1
    assert again.http.delete(f"{FILES}/{data['file_id']}").status_code == 200


def test_what_no_reply_told_of_is_cleared_away(start: Start) -> None:
    """A kill between the file and its row, or between its row and the file's end."""
    api = start()
    data = keep(api)
    folder = api.service.options.data_dir
    api.service.kill()
    (folder / "uploads" / "half.part").write_bytes(b"x")
    with closing(sqlite3.connect(folder / "service.sqlite3")) as db, db:
        db.execute("UPDATE uploads SET gone = 1")
    again = start()
    assert list((folder / "uploads").iterdir()) == []
    assert again.http.get(httpx.URL(data["file_url"]).path).status_code == 404


def test_a_file_expires(start: Start, until: Until) -> None:
    """It is no longer shown, counts no more, cannot be deleted, and its bytes go."""
    api = start(file_lifetime_s=0.5, link_lifetime_s=0.4)
    data = keep(api)
    until(lambda: api.http.get(data["file_url"]).status_code == 404)
    assert quota(api)["used_files"] == 0
    assert api.http.delete(f"{FILES}/{data['file_id']}").status_code == 404
    until(lambda: not list((api.service.options.data_dir / "uploads").iterdir()))


class TestReferences:
    def body(self, url: str, **more: Any) -> dict[str, Any]:
        return {"model": FLASH, "prompt": "x", "quality": "0.5K", "image_urls": [url], **more}

    def test_an_uploaded_file_is_seen_in_the_picture(self, api: Api) -> None:
        """In its colour, in the border of its tile; and its ratio is taken over."""
        data = keep(api, picture(colour=(255, 0, 255)))
        content = api.image(self.body(data["file_url"]))
        with Image.open(BytesIO(content)) as image:
            colours = image.convert("RGB").getcolors(maxcolors=1 << 24) or []
            assert max(n for n, colour in colours if colour == (255, 0, 255)) > 10_000
            assert image.width / image.height == pytest.approx(4 / 3, abs=0.05)

    def test_it_is_read_without_a_network_call(self, start: Start) -> None:
        """After a restart the service has another address: the URL still leads to its own file."""
        api = start()
        data = keep(api)
        api.service.kill()
        again = start()
        assert again.finished(again.submit(self.body(data["file_url"])))["status"] == "completed"
        assert "GET /uploads/{name} 200" not in again.admin("requests")

    @pytest.mark.parametrize("how", ["deleted", "expired"])
    def test_a_file_that_is_gone_fails_the_task(self, start: Start, until: Until, how: str) -> None:
        api = start(file_lifetime_s=0.3 if how == "expired" else 3600.0)
        data = keep(api)
        if how == "deleted":
            api.http.delete(f"{FILES}/{data['file_id']}")
        until(lambda: api.http.get(data["file_url"]).status_code == 404)
        task = api.finished(api.submit(self.body(data["file_url"])))
        assert (task["status"], task["error"]["code"]) == ("failed", "resource_not_found")
        assert api.admin("ledger")["refunded"] == 1

    def test_a_file_larger_than_the_model_takes_fails_the_task(self, start: Start) -> None:
        """Up to 20 MB can be uploaded, but Nano Banana takes 10."""
        api = start()
        data = keep(api, picture("JPEG") + bytes(10_000_000))
        task = api.finished(api.submit({"model": "nano-banana-beta", **self.small(data["file_url"])}))
        assert task["error"]["code"] == "image_processing_error"

    def small(self, url: str) -> dict[str, Any]:
        return {"prompt": "x", "image_urls": [url]}

    def test_a_gif_can_be_kept_but_not_used(self, api: Api) -> None:
        """The contract names it among the files, and not among the reference images."""
        data = keep(api, picture("GIF"))
        reply = api.post(self.body(data["file_url"]))
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "image_urls[0]")


class TestFaults:
    @pytest.mark.parametrize(("fault", "kept"), [("rate_429_upload", 0), ("rate_5xx_upload", 0)])
    def test_an_upload_is_refused(self, start: Start, fault: str, kept: int) -> None:
        api = start(faults=Faults(next={fault: 1}))
        status = send(api, picture()).status_code
        assert status == 429 if fault == "rate_429_upload" else status >= 500
        assert quota(api)["used_files"] == kept
        keep(api)

    def test_a_lost_reply_leaves_the_file(self, start: Start) -> None:
        api = start(faults=Faults(next={"lost_reply_upload": 1}))
        with pytest.raises(httpx.RemoteProtocolError):
            send(api, picture())
        assert quota(api)["used_files"] == 1

    def test_codes_are_integers_here_too(self, start: Start) -> None:
        api = start(integer_codes=True, max_files=0)
        assert send(api, picture()).json()["error"]["code"] == 402
