"""A person's own function that says how good a picture is: `--score module:function`.

It gets the picture (Pillow, RGB, upright) and what is known of its row, and returns a number, or several by
name. It is called for one picture after the other, in one thread: a model batches and threads by itself. What
it said is remembered only if it has a `version`, since nobody else can know whether it has changed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from nanobanana_batch.checks.table import OWN
from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.errors import UsageError
from nanobanana_batch.wording import shown

_SPEC = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w{0,59}", re.ASCII)
_MEMORY = re.compile(r"(?P<spec>\S+)=(?P<digest>[0-9a-f]{16}):(?P<names>[\w+]*)")

Row = Mapping[str, Any]


class BadScore(Exception):
    """What a function returned is no score."""


@dataclass(slots=True)
class Scorer:
    """One function, and by which names it scores."""

    spec: str
    function: Callable[[Image.Image, Row], object]
    version: str | None
    """None: it says none, so that nothing is remembered."""
    names: tuple[str, ...] = ()
    """Known once it has scored a picture; the same for all."""
    failed: int = 0
    first_failure: str = field(default="")

    def score(self, image: Image.Image, row: Row) -> dict[str, str]:
        """Its scores of a picture, as they stand in the table.

        Raises:
            BadScore: they are none. Else whatever the function raises.
        """
        scores = _as_scores(self.function(image, row), self.spec.partition(":")[2])
        if self.names and set(self.names) != set(scores):
            raise BadScore(f"it returned {', '.join(scores)}, and before {', '.join(self.names)}")
        self.names = self.names or tuple(scores)
        return {name: f"{scores[name]:.6g}" for name in self.names}

    def fail(self, image: str, error: BaseException) -> None:
        """Count a picture that it could not score."""
        self.failed += 1
        words = " ".join(str(error).split())[:200]
        self.first_failure = self.first_failure or f"{image}: {type(error).__name__}: {words}"

    def digest(self, picture: Picture, row: Row) -> str | None:
        """What its scores rest on; None: they are not remembered."""
        if self.version is None:
            return None
        told = json.dumps([self.spec, self.version, picture.sha256, dict(row)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def load(specs: Iterable[str]) -> tuple[Scorer, ...]:
    """The functions of these names, from the working directory or from what is installed.

    Raises:
        UsageError: there is no such function, or it cannot be imported.
    """
    return tuple(_loaded(spec) for spec in dict.fromkeys(specs))


def _loaded(spec: str) -> Scorer:
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise UsageError(f"--score {shown(spec)} is no function.", hint="Write module:function.")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(found[1]), found[2])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module of a person's own may raise anything, and leave by `sys.exit`
        raise UsageError(f"--score {spec} cannot be imported: {type(error).__name__}: {error}.") from error
    if not callable(function):
        raise UsageError(f"--score {spec} is no function, but {type(function).__name__}.")
    version = getattr(function, "version", None)
    return Scorer(spec, function, None if version is None else str(version))


def row_of(entry: Entry, picture: Picture) -> dict[str, Any]:
    """What a function is told of a picture's row: the request, the variables by name, and which image."""
    return {
        **entry.variables,
        **entry.request.given(),
        "id": entry.id,
        "row_key": entry.row_key,
        "variant": entry.variant,
        "image": picture.path,
        "image_number": picture.number,
    }


def remembered(scorer: Scorer, picture: Picture, row: Row) -> dict[str, str] | None:
    """What the table has of an earlier check by the very same function of the very same thing."""
    digest = scorer.digest(picture, row)
    for found in _MEMORY.finditer(picture.measures.get("scored", "")):
        names = tuple(found["names"].split("+"))
        scores = {name: picture.measures.get(name, "") for name in names}
        if found["spec"] == scorer.spec and found["digest"] == digest and all(scores.values()):
            if scorer.names and set(scorer.names) != set(names):
                return None
            scorer.names = scorer.names or names
            return scores
    return None


def memory(scorer: Scorer, picture: Picture, row: Row) -> str:
    """What the next check is to know of it; empty where nothing is remembered."""
    digest = scorer.digest(picture, row)
    return "" if digest is None else f"{scorer.spec}={digest}:{'+'.join(scorer.names)}"


def _as_scores(found: object, name: str) -> dict[str, float]:
    given = dict(found) if isinstance(found, Mapping) else {name: found}
    if not given:
        raise BadScore("it returned no score")
    return {_as_name(name): _as_number(name, value) for name, value in given.items()}


def _as_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadScore(f"a score cannot be called {name!r}: letters, digits and _ only")
    if name in OWN:
        raise BadScore(f"{name} is a column that checks.csv has already; call the score otherwise")
    return name


def _as_number(name: object, value: Any) -> float:
    if isinstance(value, str | bytes | bool) or value is None:
        raise BadScore(f"{name} is {value!r}, and no number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadScore(f"{name} is of type {type(value).__name__}, and no number") from error
    if not math.isfinite(number):
        raise BadScore(f"{name} is {number}")
    return number
