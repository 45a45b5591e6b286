"""A manifest that was run once gives the same rows for ever: a changed key would be paid for again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.manifest import derive_id, open_manifest
from nanobanana_batch.model import row_key
from nanobanana_batch.problems import ProblemLog

EXAMPLES = Path(__file__).parents[2] / "manifests"
PRODUCT = """\
defaults: {model: gemini-3.1-flash-image-preview, mood: calm, aspect_ratio: 16:9}
prompt: "{style} {city}, {mood}, {strength}"
variants: 2
rows:
  - {id: tokyo, city: Tokyo, variants: 3}
  - {city: Lagos, mood: busy, aspect_ratio: 1:1}
  - {id: São Paulo, city: São Paulo}
matrix:
  style: [ink, In Oil, in-oil, "!", -]
  strength: {file: strengths.txt}
  resolution: [1K, 2K]
exclude:
  - {style: ink, city: Lagos}
  - {mood: calm, strength: "0.5", resolution: 2K}
  - {id: tokyo, style: "!"}
  - {city: Tokyo, strength: "1", variants: 3}
  - {style: oil}
blocks:
  - {}
  - {prompt: "alone {variant}", matrix: ~, exclude: [{city: Lagos}]}
  - {id: "{style}_{strength}_{id}_{resolution}", rows: [{id: b, city: x}], exclude: [{style: ink}]}
"""

GOLDEN = {
    "quickstart": (12, "greenhouse-film-photograph-16-9", "ea5cdb6ac3e84417"),
    "edit": (6, "teahouse-in-these-colours-make-it-an-ink-drawing", "1ce4d5684cff984f"),
    "parti": (1632, "a-series-of-musical-notes-on-a-computer-595fc19671", "df1e901824db02c8"),
    "product": (111, "_1_b_2k-v2", "28372e3ee5ee82b0"),
}


def rows_of(path: Path) -> list[str]:
    """Each row as its id and its key, in order."""
    log = ProblemLog()
    drafts = list(open_manifest(path, catalog=load_catalog(), dialect="evolink").drafts(log))
    assert list(log) == []
    keys = [row_key(draft.request, draft.variant) for draft in drafts]
    return [f"{draft.id or derive_id(draft, key)} {key}" for draft, key in zip(drafts, keys, strict=True)]


@pytest.mark.parametrize("name", GOLDEN)
def test_rows_stay_what_they_were(name: str, tmp_path: Path) -> None:
    """Order, ids and keys, as they were before there was any other kind of factor."""
    path = EXAMPLES / f"{name}.yaml"
    if name == "product":
        path = tmp_path / "m.yaml"
        path.write_text(PRODUCT, encoding="utf-8")
        (tmp_path / "strengths.txt").write_text("0.5\n# none\n1\n", encoding="utf-8")
    rows = rows_of(path)
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    assert (len(rows), rows[-1].rpartition(" ")[0], digest) == GOLDEN[name]
