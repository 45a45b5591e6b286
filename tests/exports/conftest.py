"""One finished run with everything that people have, and `datasets` without a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.exports.finished import Made, make_folder, picture

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

NASTY = (
    "01",
    "1",
    "",
    "null",
    "NaN",
    "2026-01-01",
    "true",
    "x" * 8000,
    "日本語 🎨 \u202eright to left",
    'quotes " and \\ and </script>\nand lines\r\n',
    "1e5",
    "-",
)
NAMES = ("style", "file_name", "image", "label", "text", "source_file_name", "a.b", "ünï code", "key")


def nasty_rows() -> list[Made]:
    """Rows whose variables look like everything but texts; each name has each value once."""
    return [
        Made(
            f"row-{number}",
            prompt=f"{NASTY[-1 - number] or 'nothing'} #{number}",
            variables={name: NASTY[(number + shift) % len(NASTY)] for shift, name in enumerate(NAMES)},
            format=("PNG", "JPEG", "WEBP")[number % 3],
        )
        for number in range(len(NASTY))
    ]


def more_rows() -> list[Made]:
    """Rows that ended otherwise, or are called as others are."""
    return [
        Made("train-test", variables={"style": "only this one"}),
        Made("row 1"),
        Made("a.b/c".replace("/", "·")),
        Made("東京"),
        Made("several", pictures=3),
        Made("twin", data=picture("row-0 0")),
        Made("failed", end="failed"),
        Made("refused", end="refused"),
        Made("pending", end="pending"),
    ]


@pytest.fixture(scope="session")
def rows() -> Sequence[Made]:
    """What the run was about."""
    return [*nasty_rows(), *more_rows()]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, rows: Sequence[Made]) -> Path:
    """Its output folder; nobody changes it."""
    return make_folder(tmp_path_factory.mktemp("finished") / "out", rows, name="every_thing <b>")


@pytest.fixture(autouse=True)
def quiet_datasets() -> None:
    """No bars."""
    import datasets

    datasets.disable_progress_bars()
