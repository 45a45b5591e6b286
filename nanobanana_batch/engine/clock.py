"""What time it is: by this machine's clock, or by the provider's where that shows that it is wrong."""

from __future__ import annotations

from collections.abc import Callable

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.files.log import Log
from nanobanana_batch.wording import rough_duration_text

APART_S = 60.0
"""So far two clocks may be from each other without one of them being wrong."""
_TELLING_S = 300.0


class Clock:
    """Unix seconds, for what is written down and for what is compared with it; nothing waits by it.

    Once the provider has told its time that goes on by seconds that nobody sets: a clock that is set in the
    middle of a run changes nothing.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        steady: Callable[[], float],
        theirs: Callable[[], float | None],
        tally: Tally,
        log: Log,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._theirs = theirs
        self._tally = tally
        self._log = log
        self._logged_s = 0.0
        self._is_told = False

    @property
    def is_checked(self) -> bool:
        """Whether the provider has told its time."""
        return self._theirs() is not None

    def now(self) -> float:
        """This machine's time while it is the provider's within a minute, else the provider's."""
        wall, theirs = self._wall(), self._theirs()
        if theirs is None:
            return wall
        ahead_s = wall - theirs
        is_apart = abs(ahead_s) > APART_S
        self._tell(ahead_s if is_apart else 0.0)
        return theirs if is_apart else wall

    def moment(self) -> float:
        """Seconds that nobody sets: what is remembered in a run is remembered so."""
        return self._steady()

    def at(self, moment: float) -> float:
        """A moment of this run in Unix seconds, by what is known now."""
        return self.now() - (self._steady() - moment)

    def _tell(self, ahead_s: float) -> None:
        if abs(ahead_s - self._logged_s) > APART_S:
            self._logged_s = ahead_s
            self._log("clock", ahead_s=round(ahead_s))
        if abs(ahead_s) > _TELLING_S and not self._is_told:
            self._is_told = True
            where = "ahead of" if ahead_s > 0 else "behind"
            self._tally.announce(
                f"This machine's clock is {rough_duration_text(abs(ahead_s))} {where} the provider's;"
                " the provider's is used."
            )
