"""A finished folder goes to the Hub as it is; here to one that listens on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

import nanobanana_batch as nb
from tests.exports.fake_hub import Hub, running
from tests.exports.finished import Made, finish, make_folder

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
"""What the library does with the one that it sends with."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """One that takes the token of this user, by the way without a library of its own."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    with running() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", found.token)
        yield found
    huggingface_hub.close_session()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run of three rows, one of which is still to be made."""
    return make_folder(tmp_path / "out", [Made("a"), Made("b"), Made("late", end="pending")])


def files(folder: Path) -> dict[str, bytes]:
    """What is in an export, but for what is only ours."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".export.json"
    }


@pytest.mark.parametrize("format", ["imagefolder", "parquet"])
def test_the_folder_is_sent_as_it_is(
    hub: Hub, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], format: str
) -> None:
    """To a data set that only its owner sees; without a bar where nobody looks."""
    done = nb.export(small, format, tmp_path / "set", push_to_hub="me/pictures")
    assert hub.repos == {"me/pictures": True}
    assert hub.files == files(tmp_path / "set")
    assert "%" not in capfd.readouterr().err
    assert done.pushed is not None
    assert (done.pushed.files, done.pushed.url.startswith(hub.url)) == (len(hub.files), True)


def test_what_is_no_part_of_it_any_more_goes(hub: Hub, small: Path, tmp_path: Path) -> None:
    """Shards of before would be loaded with the new ones; what others have put there stays."""
    hub.files = {"LICENSE": b"mine", "data/train-00000-of-00002.parquet": b"stale"}
    nb.export(small, "parquet", tmp_path / "set", push_to_hub="pictures")
    assert hub.files == {**files(tmp_path / "set"), "LICENSE": b"mine"}
    finish(small, 3, Made("late"))
    nb.export(small, "parquet", tmp_path / "set", push_to_hub="pictures")
    assert hub.files == {**files(tmp_path / "set"), "LICENSE": b"mine"}


def test_shards_of_an_earlier_push_go_too(hub: Hub, small: Path, tmp_path: Path) -> None:
    """Those of a WebDataset stand in no folder, and the card names them by their beginning."""
    hub.files = {"train-000007.tar": b"stale", "notes-1.txt": b"mine"}
    nb.export(small, "webdataset", tmp_path / "set", push_to_hub="pictures")
    assert hub.files == {**files(tmp_path / "set"), "notes-1.txt": b"mine"}


@pytest.mark.parametrize("is_there", [False, True], ids=["nothing yet", "the export"])
@pytest.mark.parametrize("format", ["imagefolder", "parquet"])
def test_a_dry_run_says_exactly_what_would_be_sent(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, is_there: bool
) -> None:
    """Without a token, a network, or a file."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    if is_there:
        nb.export(small, format, tmp_path / "set", push_to_hub="me/x", dry_run=True)
    told = nb.export(small, format, tmp_path / "set", push_to_hub="me/x", dry_run=True).pushed
    assert not (tmp_path / "set").exists()
    nb.export(small, format, tmp_path / "set")
    made = files(tmp_path / "set")
    assert told is not None
    assert (told.files, told.bytes) == (len(made), sum(map(len, made.values())))


def test_without_a_token_the_export_is_there_all_the_same(
    hub: Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the sentence says how to say who one is; the same command then only sends."""
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_else")
    with pytest.raises(nb.UsageError, match="HF_TOKEN"):
        nb.export(small, "parquet", tmp_path / "set", push_to_hub="me/x")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    done = nb.export(small, "parquet", tmp_path / "set", push_to_hub="me/x")
    assert not done.is_new
    assert hub.files == files(tmp_path / "set")


def test_a_hub_that_is_not_there_is_told(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code for what can be begun again."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(nb.RunStopped, match="did not take me/x"):
        nb.export(small, "parquet", tmp_path / "set", push_to_hub="me/x")
    assert (tmp_path / "set" / "README.md").exists()


@pytest.mark.parametrize(
    ("repo", "format", "more"),
    [("no repo", "parquet", {}), ("me/x", "csv", {}), ("me/x", "parquet", {"paths_only": True})],
)
def test_what_the_hub_cannot_show_is_refused(
    small: Path, tmp_path: Path, repo: str, format: str, more: dict[str, bool]
) -> None:
    """Before anything is written."""
    with pytest.raises(nb.UsageError):
        nb.export(small, format, tmp_path / "set", push_to_hub=repo, **more)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
