"""What a page says of pictures, checked, and put into the files of their folders."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from nanobanana_batch.collection.judgements import MOST_STARS, Judged, Judgement, Verdict, save_judged
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.preferences import Better, Choice, folder_between, save_choices
from nanobanana_batch.file_names import MAX_STEM_BYTES
from nanobanana_batch.files.disk import Disk

_LONGEST_NOTE = 20_000
_LONGEST_PROMPT = 100_000
_MOST_AT_ONCE = 5000
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_Text = Annotated[str, StringConstraints(max_length=_LONGEST_NOTE)]
_Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-z-]{1,100}$")]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STEM_BYTES)]


class SaidPicture(BaseModel):
    """A picture, as the page knows it."""

    model_config = _STRICT
    folder: str
    """By its name in the page."""
    id: _Name
    image: Annotated[str, StringConstraints(pattern=r"^images/[^/\\]{1,200}$")]
    row_key: _Key
    sha256: _Sha256

    @property
    def named(self) -> Named:
        """The same without its folder."""
        return Named(self.id, self.image, self.row_key, self.sha256)


class SaidJudgement(SaidPicture):
    """What a person said of it; all that is left out is taken back."""

    image_number: Annotated[int, Field(ge=1)] = 1
    item: Annotated[int, Field(ge=0)]
    """Its number in the page, which wants it back."""
    rating: Annotated[int, Field(ge=1, le=MOST_STARS)] | None = None
    verdict: Verdict | None = Field(default=None, strict=False)
    rating_note: _Text = ""


class SaidChoice(BaseModel):
    """Which of two is better; none takes it back."""

    model_config = _STRICT
    prompt: Annotated[str, StringConstraints(max_length=_LONGEST_PROMPT)]
    first: SaidPicture
    second: SaidPicture
    better: Better | None = Field(default=None, strict=False)

    @property
    def pair(self) -> frozenset[tuple[str, Named]]:
        """The two, whichever was shown first."""
        return frozenset({(one.folder, one.named) for one in (self.first, self.second)})


class Said(BaseModel):
    """What a page sends."""

    model_config = _STRICT
    ratings: Annotated[list[SaidJudgement], Field(max_length=_MOST_AT_ONCE)] = []
    choices: Annotated[list[SaidChoice], Field(max_length=_MOST_AT_ONCE)] = []


class UnknownFolder(ValueError):
    """The page names a folder that it does not show."""


class Saving:
    """Into the files of these folders, by the names that the page has for them."""

    def __init__(self, folders: Mapping[str, Path], disk: Disk) -> None:
        self._folders = folders
        self._disk = disk
        self._one_at_a_time = threading.Lock()
        self._ratings: dict[tuple[str, Named], SaidJudgement] = {}
        self._choices: dict[frozenset[tuple[str, Named]], SaidChoice] = {}

    def save(self, said: Said) -> None:
        """All of it, or as much as the disk takes; what was saved may be said again.

        Raises:
            UnknownFolder: nothing was saved.
            UsageError: a file that is there cannot be read; it stays as it is.
            DiskFailed: the disk is full or refuses.
        """
        judged = defaultdict(list)
        for one in said.ratings:
            judgement = Judgement(one.rating, one.verdict, one.rating_note)
            names = (one.id, one.image, one.row_key, one.sha256)
            judged[self._folder(one.folder)].append(Judged(*names, judgement, one.image_number == 1))
        choices = defaultdict(list)
        for each in said.choices:
            folder, other = self._folder(each.first.folder), self._folder(each.second.folder)
            between = folder_between(folder, other)
            choices[folder].append(
                Choice(each.prompt, each.first.named, each.second.named, each.better, between)
            )
        with self._one_at_a_time:
            for folder, some in judged.items():
                save_judged(folder, some, self._disk)
            for folder, pairs in choices.items():
                save_choices(folder, pairs, self._disk)
            self._ratings.update({(one.folder, one.named): one for one in said.ratings})
            self._choices.update({each.pair: each for each in said.choices})

    def since(self) -> Said:
        """All that was saved here, for a page that is loaded anew: its data are from before."""
        with self._one_at_a_time:
            return Said.model_construct(
                ratings=list(self._ratings.values()), choices=list(self._choices.values())
            )

    def _folder(self, name: str) -> Path:
        try:
            return self._folders[name]
        except KeyError as error:
            raise UnknownFolder(f"no folder is called {name!r} here") from error
