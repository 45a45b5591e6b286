"""A journal in object storage, against an S3 server on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from nanobanana_batch.errors import RunStopped, Superseded
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.journals.place import place_of
from nanobanana_batch.journals.slots import Slots
from tests.exports.test_object_storage import SECRET, s3, server
from tests.journals.places import RUN

__all__ = ["s3", "server"]
ADDRESS = "s3://bucket/journals/cats"
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def writer() -> Slots:
    slots = Slots(place_of(ADDRESS, Disk()), RUN)
    slots.take_over()
    return slots


def test_the_writer_of_before_finds_out_and_who_comes_next_knows_all(s3: Any) -> None:
    """The storage itself refuses the second of two who write the same name."""
    first = writer()
    first.write(b"one\n")
    second = writer()
    with pytest.raises(Superseded):
        first.write(b"about to pay\n")
    second.write(b"two\n")
    assert b"".join(writer().lines()) == b"one\ntwo\n"


def test_many_parts_are_read_in_their_order(s3: Any) -> None:
    slots = writer()
    for number in range(150):
        slots.write(b"%d\n" % number)
    assert b"".join(writer().lines()) == b"".join(b"%d\n" % number for number in range(150))


def test_what_cannot_be_written_is_told_without_the_keys(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = writer()
    s3.delete_object(Bucket="bucket", Key="journals/cats/00000001.jsonl")
    s3.delete_bucket(Bucket="bucket")
    with pytest.raises(RunStopped) as told:
        slots.write(b"one\n")
    assert SECRET not in str(told.value)
    s3.create_bucket(Bucket="bucket")
