"""Where a person sits who types commands: a folder, and a provider that shares nothing with us."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.commands import PROGRAM
from nanobanana_batch.results import read_results
from tests.campaign.strict.client import Strict

FOLDER = "the cat's pictures"
"""As a person may call it: a shell needs it in quotes."""
PROFILE = """\
extends: evolink
name: strict
idempotency: ignored
poll_interval_s: 0.02
reads_per_s: 1000
"""
ADVICE = re.compile(rf"`({PROGRAM} [^`]*)`")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str

    @property
    def advice(self) -> list[str]:
        """Every command that it names."""
        return ADVICE.findall(self.said)

    @property
    def remedies(self) -> list[str]:
        """Those against trouble; to look at images and to export them is no trouble."""
        return [one for one in self.advice if shlex.split(one)[1] not in ("gallery", "export")]

    def of(self, *words: str) -> str:
        """The one command with these words in it."""
        (found,) = {one for one in self.advice if all(word in shlex.split(one) for word in words)}
        return found


@dataclass(frozen=True)
class Desk:
    """Where a person sits: commands go to one provider, and are typed as they stand."""

    folder: Path
    server: Strict
    call: Callable[[list[str]], Ended]

    @property
    def where(self) -> list[str]:
        """As a run has to be told."""
        return ["--provider", "strict.yaml", "--base-url", self.server.api]

    @property
    def images(self) -> Path:
        """Of the output folder."""
        return self.folder / FOLDER / "images"

    def do(self, *words: str) -> Ended:
        """One command of ours."""
        ended = self.call(list(words))
        assert "Traceback" not in ended.said
        assert "should not have happened" not in ended.said
        return ended

    def run(self, *flags: str) -> Ended:
        """Make the rows."""
        return self.do("run", "small.csv", "--out", FOLDER, *self.where, *flags)

    def follow(self, advice: str) -> Ended:
        """Type what was advised; a folder does not say where a key goes, so that may have to be said."""
        words = shlex.split(advice)
        assert words[0] == PROGRAM
        ended = self.do(*words[1:])
        if "If that is right, say so: " in ended.said:
            options = ended.said.partition("say so: ")[2].splitlines()[0]
            ended = self.do(*words[1:], *shlex.split(options))
        return ended

    def goes(self, **settings: Any) -> None:
        """From now on the provider works like that."""
        self.server.ask("set", settings)

    def kinds(self) -> list[str]:
        """What an audit finds."""
        return re.findall(r"^  (\w+): ", self.do("audit", FOLDER).said, re.MULTILINE)

    def is_whole(self) -> None:
        """Every row has its image."""
        assert set(read_results(self.folder / FOLDER)["status"]) == {"completed"}

    def paid(self) -> int:
        """Tasks that were charged for and not refunded."""
        report = self.server.report()
        return int(report["charged"] - report["refunded"])
