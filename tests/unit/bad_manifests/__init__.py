"""A table of bad manifests, each with what a person sees: the Markdown files of this folder.

A case is a heading, an optional command, files in fences that carry their names, and the answer in a fence
called `says`; "An editor marks it." stands in those that the schema catches as well. To write all answers
anew, and review the difference:

    python -m tests.unit.bad_manifests
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nanobanana_batch.cli import main

HERE = Path(__file__).parent
SAYS = "says"
MARKED = "An editor marks it."
_FENCE = re.compile(r"^```(\S+)( \(escaped\))?\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^plan (.+)$", re.MULTILINE)
_REPEATED = re.compile(r"\((\d+) times (\w)\)")


@dataclass(frozen=True)
class Case:
    """One bad manifest."""

    kind: str
    title: str
    command: tuple[str, ...]
    files: dict[str, bytes]
    says: str
    """All of it."""
    marked: bool
    """Whether editors mark it, too: by the schema, or as no YAML."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.title}"

    def lay_out(self, folder: Path) -> None:
        """Write its files, and those that all cases share."""
        Image.new("RGB", (3, 2), (200, 120, 40)).save(folder / "cat.png")
        (folder / "notes.png").write_text("no image\n")
        Image.new("P", (3, 2)).save(folder / "moving.png", "GIF")
        with (folder / "large.png").open("wb") as file:
            file.truncate(21_000_000)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def cases() -> list[Case]:
    """All of them, in the order of their files."""
    return [case for path in sorted(HERE.glob("*.md")) for case in _cases_of(path)]


def _cases_of(path: Path) -> Iterator[Case]:
    for text in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = text.partition("\n")
        files = {name: _content(content, bool(escaped)) for name, escaped, content in _FENCE.findall(body)}
        says = files.pop(SAYS, b"").decode()
        command = _COMMAND.search(_FENCE.sub("", body))
        words = command[1].split() if command else list(files)[:1]
        yield Case(path.stem, title, tuple(words), files, says, MARKED in _FENCE.sub("", body))


def _content(text: str, is_escaped: bool) -> bytes:
    if is_escaped:
        return text.replace("\n", "").encode().decode("unicode_escape").encode("latin-1")
    return _REPEATED.sub(lambda found: int(found[1]) * found[2], text).encode()


def answer(case: Case, folder: Path) -> tuple[int, str, str]:
    """What the real command says of it in this folder: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    case.lay_out(folder)
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["nanobanana-batch", "plan", *case.command]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("the command has to end the program")


def write_answers() -> None:
    """Put into each case what it says now."""
    for path in sorted(HERE.glob("*.md")):
        head, *texts = path.read_text(encoding="utf-8").split("\n## ")
        for number, case in enumerate(_cases_of(path)):
            body = re.sub(rf"^```{SAYS}\n.*?^```\n", "", texts[number], flags=re.MULTILINE | re.DOTALL)
            with tempfile.TemporaryDirectory() as folder:
                code, out, err = answer(case, Path(folder))
            says = err if code == 2 else f"exit {code}\n{out}{err}"
            texts[number] = f"{body.rstrip()}\n```{SAYS}\n{says}```\n"
        path.write_text("\n## ".join([head, *texts]), encoding="utf-8")
