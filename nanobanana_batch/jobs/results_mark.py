"""Whether results.csv is what it would be if it were written now: known without walking through all rows."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.contents import sha256_of
from nanobanana_batch.files.folder import RATINGS_NAME, RESULTS_NAME
from nanobanana_batch.files.program import program
from nanobanana_batch.files.standing import Files
from nanobanana_batch.jobs.session import Session
from nanobanana_batch.state.last_run import ENDED
from nanobanana_batch.state.reader import KEPT_IMAGES

_RESULTS = "results"
"""Under which the state remembers what results.csv was made from, with a hash of what was written."""


class Written:
    """What a session writes to results.csv, so that it can be told later whether it is that still."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._digest = hashlib.sha256()
        self._is_certain = True

    def see(self, piece: bytes) -> None:
        """So much more is written."""
        self._digest.update(piece)

    def say(self, message: str) -> None:
        """Something is wrong with what people said of images, which each run has to tell."""
        self._is_certain = False
        self._session.tally.say_once(message)

    def remember(self, files: Files) -> None:
        """Once the run has said how it ended; `files`: how the images stand."""
        mark = _mark(self._session, self._digest.hexdigest())
        if mark and self._is_certain and files == Files():
            with suppress(StateFailed):  # all that matters is written
                self._session.store.remember(_RESULTS, mark)


def results_are_current(session: Session) -> bool:
    """Whether results.csv says what the state knows; ask only where each image is as it was saved."""
    known = session.store.meta(_RESULTS)
    return bool(known) and known == _mark(session, _hash_of(session.folder.path / RESULTS_NAME))


def _mark(session: Session, results: str) -> str:
    """All that decides the file, and a hash of it; empty where ratings cannot be read."""
    store, ratings = session.store, session.folder.path / RATINGS_NAME
    said = _hash_of(ratings)
    if not results or (not said and os.path.lexists(ratings)):
        return ""
    known = (store.meta(name) for name in ("manifest", "variables", "digest", KEPT_IMAGES, ENDED))
    return json.dumps([results, program(), store.told_so_far, said, *known])


def _hash_of(path: Path) -> str:
    """Of a plain file, and of nothing that a link leads to: that is no file of ours."""
    return "" if path.is_symlink() else sha256_of(path)
