"""Settings that many rows share are settled once; what depends on the row itself is looked at in each."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.catalog import MATCH_INPUT, Finding, load_catalog
from nanobanana_batch.manifest.rows.local_images import LocalImages
from nanobanana_batch.manifest.rows.settle import Settler

URL = "https://example.com/a.png"


def findings(settler: Settler, model: str, images: str = "", prompt: str = "a") -> list[Finding]:
    """What is wrong with a row that is to have the shape of its reference image."""
    values = {"model": model, "aspect_ratio": MATCH_INPUT, "images": images}
    return settler.settle(values, prompt)[1]


def test_rows_of_the_same_settings_are_judged_by_their_own_images_and_prompt(tmp_path: Path) -> None:
    """Whichever comes first: one without an image cannot have its shape, however the others are."""
    catalog = load_catalog()
    dialect, rules = next(
        (dialect, rules)
        for dialect in catalog.dialects
        for rules in catalog.models(dialect)
        if MATCH_INPUT in rules.aspect_ratios
    )
    settler = Settler(catalog, dialect, LocalImages(tmp_path), allow_unknown_model=False)
    for _ in range(2):
        assert findings(settler, rules.name, URL) == []
        (missing,) = findings(settler, rules.name)
        assert missing.field == "images"
        assert [each.field for each in findings(settler, rules.name, URL, prompt=" ")] == ["prompt"]
        assert [each.field for each in findings(settler, rules.name, f"{URL}|ftp://x")] == ["images"]
