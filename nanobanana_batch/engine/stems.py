"""What files of a row's images are called, before their endings: never as another row's or a stranger's."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.engine.work import Work
from nanobanana_batch.files.images import stem_is_taken
from nanobanana_batch.state.store import RowToSend, Store


class Stems:
    """Names for the files of one folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def free(self, row: RowToSend) -> str:
        """The id, unless a row that has left the manifest or a stranger's file has the name."""
        if not self._store.stem_is_taken(row.id) and not stem_is_taken(self._folder, row.id):
            return row.id
        return f"{row.id}~{_mark(row.row_key)}"

    def further(self, work: Work, number: int) -> str:
        """The row's own name and a number, unless that is a row's id, or there is such a file."""
        stem, store = f"{work.stem}-{number}", self._store
        if store.stem_is_taken(stem) or store.id_is_taken(stem) or stem_is_taken(self._folder, stem):
            return f"{stem}~{_mark(work.row_key)}"
        return stem


def _mark(row_key: str) -> str:
    return row_key.rpartition("-")[2][:10]
