"""The files API as it is published, from the same patterns that the checks use."""

from __future__ import annotations

from nanobanana_batch.service import contract
from nanobanana_batch.service.contract import Dialect
from nanobanana_batch.service.schema import (
    BINARY,
    BOOLEAN,
    ERROR,
    INTEGER,
    STRING,
    TOO_LARGE,
    UNAUTHORIZED,
    Operation,
    Schema,
    in_path,
    json_content,
    one_of,
    record,
    responses,
    secured,
    text,
)

_MIME_TYPES = tuple(contract.MIME_TYPES.values())
_NAME = text(contract.FILE_NAME)
_PATH = text(contract.UPLOAD_PATH, contract.UPLOAD_PATH_MAX_CHARS)
_DATA = {"type": "string", "format": "base64-image", "description": "A data URL, or bare Base64."}
_TIME = {"type": "string", "format": "date-time"}
_FILE_ID = text("^file-[0-9a-f]{24}$")
_FILE = record(
    "file_id file_name original_name file_size mime_type upload_path file_url download_url"
    " upload_time expires_at",
    file_id=_FILE_ID,
    file_name=STRING,
    original_name=STRING,
    file_size=INTEGER,
    mime_type=one_of(_MIME_TYPES),
    upload_path=STRING,
    file_url={"type": "string", "format": "uri"},
    download_url={"type": "string", "format": "uri"},
    upload_time=_TIME,
    expires_at=_TIME,
)


def _success(data: Schema) -> Schema:
    return record("success code msg data", success=BOOLEAN, code=INTEGER, msg=STRING, data=data)


def _upload(dialect: Dialect, how: str, body: Schema) -> Operation:
    errors = {400: "invalid_request", **UNAUTHORIZED, 402: "quota_exceeded", **TOO_LARGE}
    replies = responses(_success(_FILE), errors)
    return Operation(f"Upload a file: {how}", f"upload_{how}_{dialect}", dialect, replies, secured(body=body))


def stream(dialect: Dialect) -> Operation:
    form = record("file", file=BINARY["schema"], uploadPath=_PATH, fileName=_NAME)
    encoding = {"file": {"contentType": ", ".join(_MIME_TYPES)}}
    return _upload(dialect, "stream", {"multipart/form-data": {"schema": form, "encoding": encoding}})


def base64(dialect: Dialect) -> Operation:
    body = record("base64_data", base64_data=_DATA, upload_path=_PATH, file_name=_NAME)
    return _upload(dialect, "base64", json_content(body))


def url(dialect: Dialect) -> Operation:
    address = {"type": "string", "format": "file-url", "maxLength": contract.URL_MAX_CHARS}
    return _upload(dialect, "url", json_content(record("file_url", file_url=address)))


def quota(dialect: Dialect) -> Operation:
    data = record(
        "used_files max_files remain_files", used_files=INTEGER, max_files=INTEGER, remain_files=INTEGER
    )
    return Operation(
        "Files left", f"quota_{dialect}", dialect, responses(_success(data), UNAUTHORIZED), secured()
    )


def delete(dialect: Dialect) -> Operation:
    return Operation(
        "Delete a file",
        f"delete_file_{dialect}",
        dialect,
        responses(_success({"type": "null"}), {**UNAUTHORIZED, 404: "file_not_found"}),
        secured(in_path("file_id", _FILE_ID)),
    )


SHOWN = Operation(
    "An uploaded file",
    "uploaded_file",
    "links",
    responses(STRING, {})
    | {
        200: {"description": "The file", "content": dict.fromkeys(_MIME_TYPES, BINARY)},
        404: {"description": "No such file", "content": json_content(ERROR)},
    },
    {"parameters": [in_path("name", STRING)]},
)
