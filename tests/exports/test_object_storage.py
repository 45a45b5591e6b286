"""Exports to s3://, against an S3 server on this machine."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch import object_storage as storage
from nanobanana_batch.api.exporting import export
from nanobanana_batch.errors import RunStopped, UsageError
from tests.exports.runs import Made, make, picture

SECRET = "wJalrXUtnFEMI-not-a-real-one"
OUT = "s3://bucket/data/cats"
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer("127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with nothing in it, and the environment that leads there."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="bucket")
    yield client
    for name in names(client, ""):
        client.delete_object(Bucket="bucket", Key=name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [Made(f"r{n}", (picture(n, size=(60, 40)),)) for n in range(9)]
    return make(tmp_path_factory.mktemp("s3") / "run", rows)


def names(client: Any, prefix: str = "data/cats/") -> list[str]:
    found = client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return [one["Key"].removeprefix(prefix) for one in found]


def body(client: Any, name: str) -> bytes:
    data: bytes = client.get_object(Bucket="bucket", Key=f"data/cats/{name}")["Body"].read()
    return data


class Sent:
    """What is sent, and when it is to break."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, dies_after: int = 1000) -> None:
        from nanobanana_batch.object_storage import Storage

        self.names: list[str] = []
        send = Storage.send

        def sent(storage: Storage, name: str, file: Path) -> None:
            if len(self.names) == dies_after:
                raise KeyboardInterrupt
            self.names.append(name)
            send(storage, name, file)

        monkeypatch.setattr(Storage, "send", sent)


def test_what_arrives_is_what_a_folder_has(s3: Any, run: Path, tmp_path: Path) -> None:
    """And `webdataset` reads it from there, without our help."""
    done = export(run, "webdataset", OUT, max_size="25KB")
    export(run, "webdataset", tmp_path / "cats", max_size="25KB")
    local = {path.name: path.read_bytes() for path in (tmp_path / "cats").iterdir()}
    del local[".export.json"]
    assert done.path == OUT
    assert {name: body(s3, name) for name in names(s3) if name != ".export.json"} == local
    assert len([name for name in local if name.endswith(".tar")]) > 2
    import fsspec
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    shard = "data/cats/train-000000.tar"
    with fsspec.open(f"s3://bucket/{shard}", "rb") as file:
        samples = list(group_by_keys(tagged(tar_file_iterator(file))))
    assert samples[0]["txt"] == b"draw r0"


def tagged(files: Any) -> Iterator[dict[str, Any]]:
    yield from ({**file, "__url__": "s3"} for file in files)


def test_one_that_was_broken_off_is_gone_on_with(s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arrived is not sent twice, and there is no half shard at any time."""
    with monkeypatch.context() as patch:
        first = Sent(patch, dies_after=2)
        with pytest.raises(KeyboardInterrupt):
            export(run, "webdataset", OUT, max_size="25KB")
    assert set(names(s3)) == {*first.names, ".export.part.json"}
    with monkeypatch.context() as patch:
        second = Sent(patch)
        export(run, "webdataset", OUT, max_size="25KB")
    assert not set(second.names) & set(first.names)
    assert set(names(s3)) == {*first.names, *second.names, ".export.json"}


def test_the_same_again_sends_nothing(s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one with fewer samples takes the shards away that it has not."""
    export(run, "webdataset", OUT, max_size="25KB")
    with monkeypatch.context() as patch:
        again = Sent(patch)
        assert not export(run, "webdataset", OUT, max_size="25KB").is_new
        assert not again.names
    before = names(s3)
    with pytest.raises(UsageError, match="another --only"):
        export(run, "webdataset", OUT, max_size="25KB", only="rated")
    assert names(s3) == before


def test_samples_that_are_gone_take_their_shards_along(s3: Any, tmp_path: Path) -> None:
    """Nothing stays of the export of before."""
    run = make(tmp_path / "run", [Made(f"r{n}", (picture(n, size=(60, 40)),)) for n in range(6)])
    export(run, "webdataset", OUT, max_size="9KB")
    assert "train-000005.tar" in names(s3)
    for n in range(4):
        (run / f"images/r{n}.png").write_bytes(b"changed")
    done = export(run, "webdataset", OUT, max_size="9KB")
    assert done.samples == 2
    assert sorted(names(s3)) == [".export.json", "README.md", "train-000000.tar", "train-000001.tar"]


def test_a_large_file_goes_in_parts(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in memory for a moment only."""
    monkeypatch.setitem(storage._IN_PARTS, "s3", {"chunksize": 5 << 20, "max_concurrency": 4})
    run = make(tmp_path / "run", [Made("big", (picture(1, "PNG", (1950, 1950), compress_level=0),))])
    export(run, "webdataset", OUT)
    found = s3.head_object(Bucket="bucket", Key="data/cats/train-000000.tar")
    assert found["ETag"].strip('"').endswith("-3")
    assert found["ContentLength"] > 10 << 20


def test_what_is_no_export_is_left_alone(s3: Any, run: Path) -> None:
    """Whatever it is."""
    s3.put_object(Bucket="bucket", Key="data/cats/holiday.txt", Body=b"mine")
    with pytest.raises(UsageError, match="no export"):
        export(run, "webdataset", OUT)
    assert names(s3) == ["holiday.txt"]


def test_its_neighbours_are_not_its_own(s3: Any, run: Path) -> None:
    """An address is no beginning of other addresses."""
    s3.put_object(Bucket="bucket", Key="data/cats-and-dogs/x.tar", Body=b"theirs")
    export(run, "webdataset", OUT)
    assert names(s3, "data/cats-and-dogs/") == ["x.tar"]


def test_what_others_have_put_below_the_address_stays(s3: Any, tmp_path: Path) -> None:
    """Another export, or a holiday: only what an export has sent is replaced or removed."""
    run = make(tmp_path / "run", [Made(f"r{n}", (picture(n, size=(60, 40)),)) for n in range(4)])
    export(run, "webdataset", OUT, max_size="9KB")
    s3.put_object(Bucket="bucket", Key="data/cats/v2/train-000000.tar", Body=b"another")
    s3.put_object(Bucket="bucket", Key="data/cats/holiday.txt", Body=b"mine")
    assert not export(run, "webdataset", OUT, max_size="9KB").is_new
    for n in range(2):
        (run / f"images/r{n}.png").write_bytes(b"changed")
    done = export(run, "webdataset", OUT, max_size="9KB")
    again = export(run, "webdataset", OUT, max_size="9KB")
    assert (done.samples, again.samples, again.is_new) == (2, 2, False)
    assert {"v2/train-000000.tar", "holiday.txt"} < set(names(s3))
    assert "train-000002.tar" not in names(s3)


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("s3://nobody/x", "there is no such bucket"),
        ("s3://bucket", "has to be s3://BUCKET/NAME"),
        ("s3://bucket/../x", "has to be s3://BUCKET/NAME"),
        ("s3://key:secret@bucket/x", "Keys belong in the environment"),
        ("ftp://host/x", "to s3://, gs://"),
        ("gs://bucket/x", "nanobanana-batch[gcs]"),
    ],
)
def test_other_addresses_are_refused(
    s3: Any, run: Path, out: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no key is in what is said."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises((UsageError, RunStopped)) as refused:
        export(run, "webdataset", out)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_gone_is_told_without_keys(
    s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what kind of trouble it is."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RunStopped) as stopped:
        export(run, "webdataset", OUT)
    said = json.dumps([str(stopped.value), repr(stopped.value)])
    assert SECRET not in said
    assert "AKIA" not in said
    assert "same command again" in said


def test_nothing_was_sent_where_nobody_is_let_in(s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong or no keys, no bucket: exit 2, and the sentence says where keys come from."""
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(storage.Storage, "_failing", denied(storage.Storage._failing))
        said.append(refusal(run, OUT))
    assert names(s3) == []
    said.append(refusal(run, "s3://nobody/x"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    said.append(refusal(run, OUT))
    for told, words in zip(said, ("access is denied", "no such bucket", "no keys"), strict=True):
        assert words in told
        assert "nothing was sent" in told
        assert "AWS_" in told
        assert SECRET not in told


def refusal(run: Path, out: str) -> str:
    with pytest.raises(UsageError) as refused:
        export(run, "webdataset", out)
    assert refused.value.exit_code == 2
    return str(refused.value)


def denied(failing: Any) -> Any:
    """Whatever is asked of the storage is refused, as `s3fs` says it."""

    @contextmanager
    def fails(self: Any, doing: str) -> Iterator[None]:
        with failing(self, doing):
            raise PermissionError(f"The key {SECRET} does not exist in our records.")
            yield

    return fails


def test_keys_that_expire_on_the_way_stop_the_export(
    s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3: something is there already, and the same command goes on."""

    def expired(*_: object, **__: object) -> None:
        raise PermissionError("ExpiredToken")

    with monkeypatch.context() as patch:
        patch.setattr("s3fs.S3FileSystem.put_file", expired)
        with pytest.raises(RunStopped, match="access is denied"):
            export(run, "webdataset", OUT)
    assert export(run, "webdataset", OUT).is_new


def test_a_connection_that_breaks_in_the_middle_is_told(
    s3: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its kind; it has the name of a response, and none."""
    exceptions = pytest.importorskip("botocore.exceptions")

    def breaks(*_: object, **__: object) -> None:
        raise exceptions.ConnectionClosedError(endpoint_url=f"http://127.0.0.1/{SECRET}")

    monkeypatch.setattr("s3fs.S3FileSystem.put_file", breaks)
    with pytest.raises(RunStopped, match="ConnectionClosedError") as stopped:
        export(run, "webdataset", OUT)
    assert SECRET not in str(stopped.value)


def test_other_formats_go_to_folders(run: Path) -> None:
    """Of ten thousand small files no storage makes a whole."""
    with pytest.raises(UsageError, match="a folder of this machine only"):
        export(run, "captions", OUT)
