"""A picture in the data folder is whole or not there: written beside its name, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from nanobanana_batch.service.store import Task

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_PART = ".part"


class ImageFolder:
    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "images"
        self._folder.mkdir(exist_ok=True)
        for left_over in self._folder.glob(f"*{_PART}"):
            left_over.unlink()

    def _path(self, task: Task) -> Path:
        return self._folder / f"{task.id}.{task.extension}"

    def write(self, task: Task, body: bytes) -> None:
        path = self._path(task)
        part = path.with_name(path.name + _PART)
        part.write_bytes(body)
        os.replace(part, path)

    def read(self, task: Task) -> bytes | None:
        try:
            return self._path(task).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, task: Task) -> None:
        self._path(task).unlink(missing_ok=True)
