"""The rooms of the manifest stand above each other, so that each can be understood without those above it."""

from __future__ import annotations

from tests.unit.test_architecture import FILES, IMPORTS, ours

ROOMS = ("words", "read", "form", "combine", "rows")
"""Each imports only itself and those before it; what stands in no room may import all of them."""


def test_each_room_imports_only_those_below() -> None:
    """A word knows no file, a file no block, a block no combination; and none of them who opens it."""
    found = [
        (each.importer, target)
        for each in IMPORTS
        if each.importer.startswith("manifest.") and (target := ours(each.target)) in FILES
    ]
    wrong = []
    for importer, target in found:
        room, other = (f"{name}..".split(".")[1] for name in (importer, target))
        is_upwards = other not in ROOMS or (room in ROOMS and ROOMS.index(other) > ROOMS.index(room))
        if room in ROOMS and target.startswith("manifest") and is_upwards:
            wrong.append((importer, target))
    assert not wrong
    assert len(found) > 100
    assert {room for room in ROOMS if f"manifest.{room}" in FILES} == set(ROOMS)
