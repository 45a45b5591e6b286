"""The same faults hit the same requests in every run: a decision is a hash, not a draw as they arrive."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from nanobanana_batch.service.options import FAULT_GROUPS, Faults

BEFORE_SUBMIT = FAULT_GROUPS["submit, not charged"]
AFTER_SUBMIT = FAULT_GROUPS["submit, charged"]
FATES = FAULT_GROUPS["tasks"]
READS = FAULT_GROUPS["reads"]
DOWNLOADS = FAULT_GROUPS["links"]
UPLOADS = FAULT_GROUPS["uploads"]
CALLBACKS = FAULT_GROUPS["callbacks"]


class FaultPlan:
    """The faults in force, and how often each was met."""

    def __init__(self, faults: Faults) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._set(faults)

    def _set(self, faults: Faults) -> None:
        self.faults = faults
        self._left = dict(faults.next)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Only what is named changes; counts that are under way go on."""
        counts = {**self._left, **changes.get("next", {})}
        self._set(self.faults.changed({**changes, "next": counts}))

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.faults), "next": {k: n for k, n in self._left.items() if n}}

    def first(self, names: Iterable[str], subject: str) -> str | None:
        return next((name for name in names if self.hits(name, subject)), None)

    def hits(self, name: str, subject: str) -> bool:
        if self._left.get(name):
            self._left[name] -= 1
            return True
        rate: float = getattr(self.faults, name)
        if rate <= 0:
            return False
        self._seen[name, subject] += 1
        return self._number(name, subject, self._seen[name, subject]) < rate * 2**64

    def choose(self, options: Iterable[Any], name: str, subject: str) -> Any:
        """Which of several ways a hit shows itself: it varies, and is the same in every run."""
        number = self._number(f"{name} how", subject, self._seen[name, subject])
        return random.Random(number).choice(list(options))

    def _number(self, name: str, subject: str, count: int) -> int:
        text = f"{self.faults.seed}:{name}:{subject}:{count}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
