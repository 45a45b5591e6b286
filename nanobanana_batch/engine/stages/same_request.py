"""Before a stored body is sent once more: is it what its row asks for?

A state may be somebody else's, and its bodies anything. Only a body that would be made anew from the row,
byte by byte, is paid for again. A state that was made of what was told of payments has none: there it is made
from the row, which its key identifies.
"""

from __future__ import annotations

from dataclasses import replace

from nanobanana_batch.engine.parts import Record, Wire
from nanobanana_batch.engine.work import Work
from nanobanana_batch.model import Request
from nanobanana_batch.providers.base import NotOffered

_NOT_THE_SAME = (
    "Rows whose stored request is not what the row asks for are not sent again: another version, another"
    " profile or --callback-url or somebody else has made it. Use what made it, or look in your account."
)


def may_be_sent_again(wire: Wire, record: Record, work: Work) -> bool:
    """Whether its body is that of its row; of the first one that is not a person is told."""
    if not work.is_old or _is_same(wire, record, work):
        return True
    record.log("not_the_same", id=work.id)
    record.tally.say_once(_NOT_THE_SAME)
    return False


def _is_same(wire: Wire, record: Record, work: Work) -> bool:
    request = _with_uploads(record, work, record.store.row_to_send(work.row).request)
    callbacks = [None] if wire.callbacks is None else [None, wire.callbacks.url_for(work.idempotency_key)]
    for callback in callbacks:
        try:
            body = wire.provider.encode(request, callback)
            # A state that was made anew knows no bodies, and a row without its manifest has no prompt.
            work.body = work.body or (body if request.prompt else b"")
            if body == work.body:
                return True
        except (NotOffered, ValueError):
            continue
    return False


def _with_uploads(record: Record, work: Work, request: Request) -> Request:
    """The request as it was sent: its local files under the addresses that the attempt has recorded."""
    if not request.files:
        return request
    urls = record.store.uploaded_for(work.attempt)
    named = {file.name: urls[file.sha256] for file in request.files if file.sha256 in urls}
    return replace(request, images=tuple(named.get(image, image) for image in request.images), files=())
