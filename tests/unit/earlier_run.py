"""The output folder of a run that has been: a real state file and real images, made without a provider."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit.fake_provider import picture

MODEL = "gemini-3.1-flash-image-preview"


@dataclass(frozen=True)
class Earlier:
    """One row of it; an `end` is `saved`, `failed`, or `pending` for nothing sent yet."""

    id: str
    variables: dict[str, str] = field(default_factory=dict)
    end: str = "saved"

    @property
    def prompt(self) -> str:
        """Says its name; the braces are its own."""
        return f"{self.id} in {{braces}}"


def make_run(
    folder: Path, rows: Iterable[Earlier], variables: tuple[str, ...] = ("style",), provider: str = "local"
) -> None:
    """Make these rows the manifest of a folder, and bring each to its end; once for a folder."""
    folder.joinpath(IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    listed, problems = list(rows), ProblemLog()
    store = Store(folder / STATE_NAME)
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, listed), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, folder.name, variables))
    for number, row in enumerate(listed, 1):
        if row.end != "pending":
            _send(store, number, row, provider)
            store.apply(_ends(folder, number, row))
    store.close()


def finish(folder: Path, number: int, row: Earlier) -> None:
    """Bring a pending row, by its number from 1, to its end."""
    store = Store(folder / STATE_NAME)
    _send(store, number, row, "local")
    store.apply(_ends(folder, number, row))
    store.close()


def _draft(row: Earlier) -> Draft:
    request = Request(MODEL, row.prompt, "1:1", "1K")
    return Draft(f"test:{row.id}", request, row.id, variables=tuple(row.variables.items()))


def _send(store: Store, number: int, row: Earlier, provider: str) -> None:
    key = f"key-{number}"
    store.apply([facts.Intent(number, number, 1, row.id, provider, "me", b"{}", "f", key, 1.0)])
    store.apply([facts.Accepted(number, TaskMade(f"task-{number}", "req", 4.0, 20.0), 2.0)])


def _ends(folder: Path, number: int, row: Earlier) -> list[facts.Fact]:
    if row.end == "failed":
        return [facts.Failed(number, "service_error", "no", True, False, 5.0)]
    data = picture(row.id)
    (folder / IMAGE_FOLDER / f"{row.id}.png").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    image = Image(f"{IMAGE_FOLDER}/{row.id}.png", "image/png", 8, 6, len(data), digest)
    return [facts.Ready(number, ("https://x/1",), 99.0, 3.0, 3.0), facts.Saved(number, image, 4.0)]
