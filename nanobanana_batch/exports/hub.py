"""A finished export on the Hugging Face Hub: its folder as a data set, private until its owner says else.

What an earlier push has left in the same folders of the repository, and is no part of this one, goes;
whatever else stands in the repository stays.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.exports.format import missing_extra
from nanobanana_batch.exports.record import RECORD

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What went to the Hub, or would."""

    repo: str
    files: int
    bytes: int
    url: str = ""
    """Of the commit; empty where nothing was sent."""


def check_repo(repo: str) -> None:
    """Look at what is needed, before anything is written.

    Raises:
        UsageError: it is no name of a repository, or the library is not installed.
    """
    if not _REPO.fullmatch(repo):
        raise UsageError(f"--push-to-hub {repo!r} is no repository.", hint="For example me/skylines.")
    try:
        import huggingface_hub  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error, "hub", "--push-to-hub") from error


def measured(folder: Path, repo: str) -> Pushed:
    """What a push of this folder sends."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return Pushed(repo, len(sizes), sum(sizes))


def push(folder: Path, repo: str, message: str) -> Pushed:
    """Send the folder as one commit; files that the Hub has already are not sent again.

    The library shows its bars while it sends, if there is a terminal.

    Raises:
        UsageError: there is no token, or it may not do that.
        RunStopped: the Hub cannot be reached, or takes it not; the export itself is whole.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    hides_bars = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hides_bars:
        disable_progress_bars()
    parts = sorted(f"{path.name}/**" for path in folder.iterdir() if path.is_dir())
    shards = sorted({f"{path.name.rpartition('-')[0]}-*.tar" for path in folder.glob("*-*.tar")})
    try:
        full = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=full,
            repo_type="dataset",
            folder_path=folder,
            commit_message=message,
            ignore_patterns=[RECORD],
            delete_patterns=[*parts, *shards],
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise UsageError(
                f"The Hub does not let this token write to {repo}; the export is at {folder}.",
                hint="HF_TOKEN, or `hf auth login`, says who you are; the token has to be one that writes.",
            ) from error
        raise _not_pushed(folder, repo, f"status {status}") from error
    except Exception as error:  # of the library, and of what it sends with
        raise _not_pushed(folder, repo, type(error).__name__) from error
    finally:
        if hides_bars:
            enable_progress_bars()
    sent = measured(folder, full)
    return Pushed(full, sent.files, sent.bytes, str(done.commit_url))


def _not_pushed(folder: Path, repo: str, why: str) -> RunStopped:
    return RunStopped(
        f"The Hub did not take {repo} ({why}); the export is at {folder}.",
        hint="The same command sends it again, and writes nothing anew.",
    )
