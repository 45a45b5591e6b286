"""Local reference images are checked while rows are read, so that a wrong one is found before any payment."""

from __future__ import annotations

import os
from pathlib import Path

from nanobanana_batch.catalog import Finding, ModelRules, is_local
from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.references import References
from nanobanana_batch.manifest.read.reach import Reach, near_file
from nanobanana_batch.model import LocalImage
from nanobanana_batch.wording import shown

DEFAULT_LIMIT_BYTES = 20_000_000
"""Where the model states none: what the largest of the contract take."""
_WARNINGS = 10
"""Of files that are animated; who has more of them has got the point."""
_SUGGESTIONS = 100
"""A suggestion reads a folder; nobody reads more of them than this."""


class LocalImages:
    """The files that a manifest names, looked for in its folder."""

    def __init__(self, folder: Path, refusal: str = "", reach: Reach | None = None) -> None:
        self._reach = reach or Reach(folder)
        self.warnings: list[str] = []
        self._place = folder
        self._folder = folder.absolute()
        self._refusal = refusal
        self._references = References()
        self._moving: set[str] = set()
        self._suggestions_left = _SUGGESTIONS

    def find(
        self, images: tuple[str, ...], rules: ModelRules | None
    ) -> tuple[tuple[LocalImage, ...], list[Finding]]:
        """The local ones among a row's images, and what is wrong with them."""
        limit_bytes = DEFAULT_LIMIT_BYTES
        if rules is not None and rules.max_image_bytes is not None:
            limit_bytes = rules.max_image_bytes
        files: list[LocalImage] = []
        findings: list[Finding] = []
        for name in dict.fromkeys(images):
            if is_local(name):
                found = self._find(name, limit_bytes)
                if isinstance(found, LocalImage):
                    files.append(found)
                else:
                    findings.append(found)
        return tuple(files), findings

    def _find(self, name: str, limit_bytes: int) -> LocalImage | Finding:
        if self._refusal:
            return Finding("images", f"{shown(name)} is a local file, and {self._refusal}")
        path = self._folder / name
        if fault := self._reach.fault(path, name):
            return Finding("images", f"the local file {fault}")
        try:
            found = self._references.look(path, limit_bytes)
        except ImageRejected as error:
            fault = f"the local file {shown(name)}: {error.message}"
            if os.path.exists(path):
                return Finding("images", fault)
            looked_for = self._place / name
            fault += _why_missing(name) or f" at {looked_for}" * (str(looked_for) != name)
            near = f"https://{name}" if name.startswith("www.") else self._near(name)
            return Finding("images", fault, suggestion=near)
        if found.is_animated:
            self._warn_of_moving(name)
        return LocalImage(name, str(path), found.sha256, found.size_bytes, found.media_type)

    def _warn_of_moving(self, name: str) -> None:
        if name not in self._moving and len(self._moving) < _WARNINGS:
            self._moving.add(name)
            self.warnings.append(
                f"the local file {shown(name)} is animated, and no provider says what it makes of that"
            )

    def _near(self, name: str) -> str:
        """The file of the same folder that was probably meant."""
        if not self._suggestions_left:
            return ""
        self._suggestions_left -= 1
        return near_file(self._folder, name)


def _why_missing(name: str) -> str:
    if name.startswith("www."):
        return "; a URL begins with https://"
    if name.startswith("~"):
        return "; ~ stands for no folder here, write the path out"
    if "*" in name or "?" in name:
        return "; each file has to be named, there are no patterns"
    return ""
