"""What counts as another image than was asked for, and where a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.fidelity import unlike
from nanobanana_batch.files.folder import find
from nanobanana_batch.jobs.audit import make_audit
from nanobanana_batch.model import Draft, Image, Request
from nanobanana_batch.service.contract import SIZES_1K, pixel_size
from nanobanana_batch.state import facts
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import FACTS, intent, take

GOOGLES = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
"""Sides in pixels that public pages show for 1K."""


def asked(resolution: str | None = None, aspect_ratio: str | None = None) -> Request:
    """A request for a size."""
    return Request("m", "p", resolution=resolution, aspect_ratio=aspect_ratio)


@pytest.mark.parametrize("ratio", SIZES_1K)
@pytest.mark.parametrize("resolution", ["512", "0.5K", "1K", "2K", "4K"])
def test_what_a_service_draws_for_a_size_is_that_size(ratio: str, resolution: str) -> None:
    """No note on a good image, whatever its shape."""
    assert unlike(asked(resolution, ratio), *pixel_size(ratio, resolution)) == ""


@pytest.mark.parametrize("ratio", GOOGLES)
def test_sides_that_are_rounded_are_no_other_ratio(ratio: str) -> None:
    """Real models draw in blocks of pixels."""
    assert unlike(asked("1K", ratio), *GOOGLES[ratio]) == ""


@pytest.mark.parametrize(
    ("request_", "sides", "note"),
    [
        (asked("4K"), (1024, 1024), "1024x1024 for 4K"),
        (asked("1K"), (2048, 2048), "2048x2048 for 1K"),
        (asked("512"), (1024, 1024), "1024x1024 for 512"),
        (asked("2K", "16:9"), (1024, 1024), "1024x1024 for 2K 16:9"),
        (asked("1K", "4:5"), (896, 1200), "896x1200 for 4:5"),
        (asked("1K", "16:9"), (768, 1376), "768x1376 for 16:9"),
        (asked(None, "1:1"), (3000, 3000), ""),
        (asked("9K", "auto"), (10, 10), ""),
        (asked(None, "match_input_image"), (10, 400), ""),
        (asked(None, "0:1"), (10, 400), ""),
        (asked(), (1, 1), ""),
    ],
)
def test_another_size_or_ratio_is_told_in_words(request_: Request, sides: tuple[int, int], note: str) -> None:
    """The sides that came, and the words that were asked for."""
    assert unlike(request_, *sides) == note


def test_people_are_told_by_state_and_audit(tmp_path: Path) -> None:
    """It counts as something to explain: more may have been paid than was made."""
    (tmp_path / "images").mkdir()
    store = Store(tmp_path / "state.sqlite3")
    take(store, [Draft("m:1", asked("4K", "1:1"), "small"), Draft("m:2", asked("1K"), "good")])
    for row in (1, 2):
        path = tmp_path / "images" / f"{row}.png"
        path.write_bytes(b"x")
        image = Image(f"images/{row}.png", "image/png", 1024, 1024, 1, f"{row}")
        store.apply([intent(row, attempt=row, stem=f"{row}"), FACTS["Accepted"](row), FACTS["Ready"](row)])
        store.apply([facts.Saved(row, image, 1.0)])
    store.close()
    with open_reader(tmp_path / "state.sqlite3") as reader:
        assert reader.not_as_asked() == 1
    found = [one for one in make_audit(find(tmp_path)).findings if one.kind == "not_as_asked"]
    assert [(one.what, one.detail) for one in found] == [("small", "1024x1024 for 4K")]
