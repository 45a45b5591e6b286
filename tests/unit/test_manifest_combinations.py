"""Factors of every kind, entries that take out and add, samples: from a manifest to rows and counts."""

from __future__ import annotations

import itertools
import textwrap
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.manifest import Manifest, open_manifest
from nanobanana_batch.manifest.combine import grid, product
from nanobanana_batch.manifest.combine.grid import Grid
from nanobanana_batch.manifest.form.block import Block, Column, Entry, Factor, Given, Sample, SourceRow
from nanobanana_batch.model import Draft, row_key
from nanobanana_batch.problems import ProblemLog

CATALOG = load_catalog()
HEAD = "defaults: {model: gemini-3.1-flash-image-preview}\n"
Load = Callable[[str], Manifest]
Prompts = Callable[[str], list[str]]


def opened(folder: Path, text: str) -> Manifest:
    """The manifest with this text."""
    path = folder / "m.yaml"
    text = textwrap.dedent(text)
    path.write_text(text if "defaults:" in text else HEAD + text, encoding="utf-8")
    return open_manifest(path, catalog=CATALOG, dialect="evolink")


def rows_of(manifest: Manifest) -> list[Draft]:
    """All rows, none of them wrong, and as many as counted."""
    log = ProblemLog()
    drafts = list(manifest.drafts(log))
    assert list(log) == []
    assert manifest.count() == len(drafts)
    return drafts


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return lambda text: opened(tmp_path, text)


@pytest.fixture
def prompts(load: Load) -> Prompts:
    return lambda text: [draft.request.prompt for draft in rows_of(load(text))]


@pytest.fixture
def fault(load: Load) -> Callable[[str], str]:
    def fault(text: str) -> str:
        with pytest.raises(ManifestError) as caught:
            load(text)
        return str(caught.value)

    return fault


Fault = Callable[[str], str]


def test_zip_walks_side_by_side_before_the_matrix(load: Load) -> None:
    """Pairs, not all combinations; a value may come again in another pair; ids have both words."""
    text = """\
    prompt: "{time} {light} {style}"
    rows: [{id: a}]
    zip: {time: [night, noon, night], light: [neon, dust, moon]}
    matrix: {style: [ink, oil]}
    """
    drafts = rows_of(load(text))
    assert [draft.request.prompt for draft in drafts[:3]] == [
        "night neon ink",
        "night neon oil",
        "noon dust ink",
    ]
    assert [draft.id for draft in drafts[3:]] == ["a-noon-dust-oil", "a-night-moon-ink", "a-night-moon-oil"]
    assert load(text).factor_names == ("time", "light", "style")


def test_zip_takes_files_and_ranges(tmp_path: Path, prompts: Prompts) -> None:
    """A file beside a range; in `zip` a line may come twice."""
    (tmp_path / "moods.txt").write_text("calm\n# -\nbusy\ncalm\n")
    text = 'prompt: "{mood} {n}"\nzip: {mood: {file: moods.txt}, n: {from: 3, to: 1, step: -1}}\n'
    assert prompts(text) == ["calm 3", "busy 2", "calm 1"]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("{from: 0.5, to: 1.0, step: 0.1}", "0.5 0.6 0.7 0.8 0.9 1.0"),
        ("{from: 1, to: 3}", "1 2 3"),
        ("{from: 1, to: 0.5, step: -0.25}", "1.00 0.75 0.50"),
        ("{from: -0.1, to: .1, step: .05}", "-0.10 -0.05 0.00 0.05 0.10"),
        ("{from: 1, to: 10, step: 4}", "1 5 9"),
        ("{from: 1, to: 1.9}", "1"),
        ("{from: 7, to: 7, step: -2}", "7"),
        ("{from: 07, to: +8, step: 1.0}", "7.0 8.0"),
        ("{from: 99999999999999999999, to: 100000000000000000001}", None),
        (
            "{from: 99999999999999999998, to: 99999999999999999999}",
            "99999999999999999998 99999999999999999999",
        ),
    ],
)
def test_a_range_is_exact_and_includes_both_ends(load: Load, written: str, values: str | None) -> None:
    """With the decimals of its first value and its step; what is no number of twenty digits is refused."""
    text = f'prompt: "{{n}}"\nrows: [{{id: a}}]\nmatrix: {{n: {written}}}\n'
    if values is None:
        with pytest.raises(ManifestError):
            load(text)
        return
    drafts = rows_of(load(text))
    assert [draft.request.prompt for draft in drafts] == values.split()
    assert [draft.id for draft in drafts] == [f"a-{value}" for value in values.split()]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("matrix: {n: {from: 1, to: 5, step: 0}}", "m.yaml:3:30: matrix.n.step: a step of 0 never ends"),
        ("matrix: {n: {from: 1, to: 5, step: -1}}", "from 1 to 5 leads no step of -1; write `step: 1`"),
        ("matrix: {n: {from: 5, to: 1}}", "from 5 to 1 leads no step of 1; write `step: -1`"),
        ("matrix: {n: {from: a, to: 1}}", "'a' is no number; write it like 3, 0.25 or -1"),
        ("matrix: {n: {from: 1, to: 1e3}}", "'1e3' is no number"),
        ("matrix: {n: {from: 1, to: nan}}", "'nan' is no number"),
        ("matrix: {n: {from: 1, to: [2]}}", "this is no number"),
        ("matrix: {n: {from: 1}}", "a range needs `to`"),
        (
            "matrix: {n: {from: 1, to: 2, stpe: 1}}",
            "unknown key 'stpe'; a range has from, to, step; did you mean 'step'?",
        ),
        ("matrix: {n: {from: 1, to: 1000000000001}}", "more than 1,000,000,000,000 values"),
        ("matrix: {n: {range: 3}}", "expected a list, {file: name.txt}, or a range such as {from: 1, to: 5}"),
        ("matrix: {n: {fiel: a.txt}}", "did you mean 'file'?"),
        ("matrix: {n: {file: a.txt, from: 1}}", "expected a list, {file: name.txt}, or a range"),
        (
            "zip: {n: [a, b], m: [c]}",
            "zip: lists that are walked side by side have the same length; n has 2, m has 1",
        ),
        ("zip: {n: [a, b], m: {from: 1, to: 3}}", "n has 2, m has 3"),
        (
            "zip: {n: [a, b, a], m: [c, d, c]}",
            "m.yaml:3:17: zip.n[2]: 'a, c' stands here twice; for repetitions",
        ),
        (
            "zip: {n: [a]}\nmatrix: {n: [b]}",
            "m.yaml:4:14: matrix.n[0]: given by `zip` and by `matrix`; keep one",
        ),
        ("rows: [{n: x}]\nzip: {n: [b], m: [c]}", "zip.n[0]: given by the rows and by `zip`; keep one"),
        ("zip: {n: [a], id: [b]}", "'id' cannot be a factor"),
        ("zip: [n]", "expected `name: value` pairs"),
        ("matrix: {n: [a]}\nsample: 5", "expected {n: 200}, or {n: 200, seed: 1}"),
        ("matrix: {n: [a]}\nsample: {n: 0}", "`n` is a whole number from 1 to 10000000"),
        ("matrix: {n: [a]}\nsample: {n: 1.5}", "`n` is a whole number"),
        ("matrix: {n: [a]}\nsample: {n: ~}", "`n` is a whole number"),
        ("matrix: {n: [a]}\nsample: {n: 5, seed: x}", "`seed` is a whole number"),
        # Python draws the same with -1 and with 1.
        ("matrix: {n: [a]}\nsample: {n: 5, seed: -1}", "`seed` is a whole number from 0 on"),
        ("matrix: {n: [a]}\nsample: {n: 5, sed: 1}", "unknown key 'sed'; did you mean 'seed'?"),
        ("matrix: {n: [a]}\nsample: {seed: 1}", "`n` says how many combinations are drawn"),
        ("matrix: {n: [a]}\ninclude: [{}]", "an empty entry names no combination"),
        ("matrix: {n: [a]}\ninclude: [{modle: b}]", "no row has 'modle'; did you mean 'model'?"),
        ("matrix: {n: [a]}\ninclude: [{id: b}]", "'id' cannot be set by an entry"),
        ("matrix: {n: [a]}\ninclude: [{n: b, variants: 3}]", "'variants' cannot be set by an entry"),
        (
            "zip: {n: [a], m: [b]}\ninclude: [{n: c}]",
            "an entry that sets a name of `zip` sets all of them; it lacks m",
        ),
        ("matrix: {n: [a]}\ninclude: {n: b}", "expected a list with at least one entry"),
        ("matrix: {n: [a]}\ninclude: [{n: [b]}]", "expected one text; write one entry for each value"),
    ],
)
def test_mistakes_are_told(fault: Fault, rest: str, said: str) -> None:
    """Each with its place, and what to write instead."""
    assert said in fault(f'prompt: "{{n}}"\n{rest}\n')


def test_an_entry_may_ask_for_a_list_of_images(load: Load) -> None:
    """As its texts side by side; a row without any is another row."""
    text = """\
    prompt: x
    rows:
      - {id: two, images: ["https://x.org/a.png", "https://x.org/b.png"]}
      - {id: none}
      - {id: empty, images: ""}
    exclude: [{images: "https://x.org/a.png https://x.org/b.png"}, {images: ""}]
    """
    assert [draft.id for draft in rows_of(load(text))] == ["none"]


def test_a_list_in_exclude_means_any_of_its_values(prompts: Prompts) -> None:
    """Of factors, of `zip`, of rows and of what is beside them, alone and together."""
    head = 'prompt: "{farbe} {tier} {ort}"\nrows: [{ort: Au}, {ort: Ulm}, {ort: Rom}]\n'
    head += "matrix: {farbe: [rot, gelb, blau], tier: [fuchs, igel]}\n"
    found = prompts(f"{head}exclude: [{{farbe: [rot, gelb]}}, {{tier: [igel], ort: [Au, Ulm]}}]\n")
    assert found == ["blau fuchs Au", "blau fuchs Ulm", "blau fuchs Rom", "blau igel Rom"]
    zipped = (
        'prompt: "{a} {b}"\nzip: {a: [x, x, y], b: ["1", "2", "3"]}\nexclude: [{a: [x, z], b: ["2", "3"]}]\n'
    )
    assert prompts(zipped) == ["x 1", "y 3"]


def test_a_value_in_a_list_of_exclude_that_nothing_has_is_warned_of(load: Load) -> None:
    """What it should have taken out would be paid for; one of several blocks that has it is enough."""
    text = """\
    prompt: "{farbe} {ort}"
    matrix: {farbe: [rot, gelb]}
    exclude:
      - {farbe: [rot, gelp], ort: [Au, Umm, Rom]}
      - {farbe: [lila, rosa]}
    blocks: [{rows: [{ort: Au}, {ort: Ulm}]}, {rows: [{ort: Rom}]}]
    """
    manifest = load(text)
    rows = list(manifest.drafts(ProblemLog()))
    assert [row.request.prompt for row in rows] == ["gelb Au", "rot Ulm", "gelb Ulm", "gelb Rom"]
    assert manifest.warnings == [
        "m.yaml:5:13: exclude: farbe is never 'gelp'; did you mean 'gelb'?",
        "m.yaml:5:31: exclude: ort is never 'Umm'",
        "m.yaml:6:5: exclude: takes nothing out: farbe is never 'lila' or 'rosa'",
    ]


@pytest.mark.parametrize("listed", ["[]", "[a, ~]", "[a, [b]]", "{a: b}"])
def test_an_entry_of_exclude_has_texts_or_lists_of_texts(fault: Fault, listed: str) -> None:
    """An empty list would take out nothing."""
    said = fault(f'prompt: "{{n}}"\nmatrix: {{n: [a, b]}}\nexclude: [{{n: {listed}}}]\n')
    assert "exclude[0].n: expected a text, or a list of texts" in said


def test_too_many_factors_are_refused(fault: Fault) -> None:
    """Each is a level of recursion."""
    factors = ", ".join(f"f{number}: [a]" for number in range(201))
    assert "201 factors; at most 200 are possible" in fault(f"prompt: x\nmatrix: {{{factors}}}\n")


def test_include_adds_after_the_rest_of_each_row(load: Load) -> None:
    """For rows that are as it asks; what the matrix does not have, what was excluded, and fields beside."""
    text = """\
    prompt: "{style} {city}"
    rows: [{id: tokyo, city: Tokyo}, {id: lagos, city: Lagos, aspect_ratio: 1:1}]
    matrix: {style: [ink, photo]}
    exclude: [{style: ink}]
    include:
      - {style: oil, city: Tokyo}
      - {style: ink, city: Lagos}
      - {style: photo, resolution: 2K, city: Lagos}
    """
    drafts = rows_of(load(text))
    assert [draft.id for draft in drafts] == [
        "tokyo-photo",
        "tokyo-oil",
        "lagos-photo",
        "lagos-ink",
        "lagos-photo-2k",
    ]
    assert [draft.request.resolution for draft in drafts] == [None] * 4 + ["2K"]
    assert drafts[3].request.prompt == "ink Lagos"


def test_what_is_there_is_not_added_twice(load: Load) -> None:
    """By the matrix, by an earlier entry, or because an entry says what the row says already."""
    text = """\
    defaults: {model: gemini-3.1-flash-image-preview, resolution: 1K, mood: calm}
    prompt: "{style} {mood}"
    matrix: {style: [ink, photo], n: {from: 0.5, to: 1, step: 0.5}}
    exclude: [{style: ink, n: 0.5}]
    include:
      - {style: ink, resolution: 1K}
      - {style: oil, n: 1.00}
      - {style: oil}
      - {style: oil, mood: calm}
    """
    drafts = rows_of(load(text))
    found = [(draft.request.prompt, dict(draft.variables)["n"]) for draft in drafts]
    assert found[3:] == [("ink calm", "0.5"), ("oil calm", "1.0"), ("oil calm", "0.5")]
    assert len({row_key(draft.request, draft.variant) + dict(draft.variables)["n"] for draft in drafts}) == 6


def test_an_included_row_is_the_one_that_the_matrix_would_have_given(prompts: Prompts, load: Load) -> None:
    """A number of a range is brought back as the range writes it, so that nothing is paid for anew."""
    text = 'prompt: "{n}"\nmatrix: {n: {from: 0.50, to: 1, step: 0.25}}\n'
    taken_and_brought_back = text + "exclude: [{n: 0.5}]\ninclude: [{n: .5}]\n"
    assert prompts(text + "exclude: [{n: 0.5}]\n") == ["0.75", "1.00"]
    assert prompts(text + "exclude: [{n: 0.6}, {n: 0.25}, {n: 1.25}, {n: x}]\n") == ["0.50", "0.75", "1.00"]
    assert prompts(taken_and_brought_back) == ["0.75", "1.00", "0.50"]
    beyond = rows_of(load(text + "rows: [{id: a}]\ninclude: [{n: 1.25}, {n: 0.25}]\n"))
    assert [draft.id for draft in beyond[3:]] == ["a-1.25", "a-0.25"]
    keys = {row_key(draft.request, 1) for draft in rows_of(load(text))}
    assert keys == {row_key(draft.request, 1) for draft in rows_of(load(taken_and_brought_back))}


def test_ids_of_included_rows_are_words_that_are_free(load: Load) -> None:
    """Two values of the same word stay apart, also from those of the matrix."""
    text = """\
    prompt: "{s} {mood}"
    defaults: {model: gemini-3.1-flash-image-preview, mood: calm}
    rows: [{id: a}]
    matrix: {s: [In Oil]}
    include: [{s: in oil}, {s: in-oil}, {s: "!"}, {s: In Oil, mood: wild}, {s: In Oil, mood: Wild}]
    """
    ids = [draft.id for draft in rows_of(load(text))]
    assert ids == ["a-in-oil", "a-in-oil-2", "a-in-oil-3", "a-4", "a-in-oil-wild", "a-in-oil-wild-3"]


def test_a_wrong_value_of_an_entry_is_told_where_it_stands(load: Load) -> None:
    """And not at the factor or the default that it overrides."""
    log = ProblemLog()
    text = """\
    prompt: "{s}"
    matrix: {s: [a], resolution: [1K]}
    include:
      - {s: b, resolution: 9K}
      - {s: c, aspect_ratio: 9:99}
    """
    list(load(text).drafts(log))
    assert sorted({problem.source for problem in log}) == ["m.yaml:5:24", "m.yaml:6:26"]


def test_top_level_entries_and_samples_hold_for_every_block(load: Load) -> None:
    """And null takes them back."""
    text = """\
    prompt: "{s}"
    matrix: {s: [a, b, c]}
    exclude: [{s: a}]
    include: [{s: d}]
    sample: {n: 2}
    blocks: [{}, {exclude: ~, include: ~, sample: ~}]
    """
    drafts = rows_of(load(text))
    assert len(drafts) == 2 + 3
    assert [draft.request.prompt for draft in drafts[2:]] == ["a", "b", "c"]


def test_idle_entries_are_warned_of_when_all_was_read(load: Load) -> None:
    """What they were meant for is suggested; an entry that one of several blocks uses is not idle."""
    text = """\
    prompt: "{style} {city}"
    zip: {time: [night, noon], light: [neon, dust]}
    exclude:
      - {style: watercolour}
      - {city: Tokio}
      - {time: night, light: dust}
      - {city: Oslo}
    include: [{style: ink}, {style: ink, city: Tokio}]
    sample: {n: 100}
    matrix: {style: [ink, watercolor]}
    blocks: [{rows: [{city: Tokyo}]}, {rows: [{city: Oslo}, {city: Bergen}]}]
    """
    manifest = load(text)
    assert not [warning for warning in manifest.warnings if "exclude" in warning]
    list(manifest.drafts(ProblemLog()))
    told = [warning for warning in manifest.warnings if "uses it" not in warning]
    assert told == [
        "m.yaml:5:5: exclude: takes nothing out: style is never 'watercolour'; did you mean 'watercolor'?",
        "m.yaml:6:5: exclude: takes nothing out: no row has city 'Tokio'",
        "m.yaml:7:5: exclude: takes nothing out: `zip` has no such values side by side",
        "m.yaml:9:25: include: adds nothing: no row has city 'Tokio'",
        "m.yaml:10:1: sample: there are only 4 combinations, and all are taken",
        "m.yaml:10:1: sample: there are only 6 combinations, and all are taken",
    ]


def test_a_sample_is_in_order_and_gets_its_variants(load: Load) -> None:
    """Over all rows of the source, from a product that could not be built; a larger one keeps a smaller."""
    text = """\
    prompt: "{s} {n} {city}"
    rows: [{city: Tokyo}, {city: Lagos, variants: 3}]
    matrix: {s: [ink, oil], n: {from: 1, to: 1000000000}}
    exclude: [{s: ink, city: Lagos}]
    sample: {n: 40, seed: 7}
    variants: 2
    """
    drafts = rows_of(load(text))
    once = [draft.request.prompt for draft in drafts if draft.variant == 1]
    assert len(set(once)) == 40
    assert once == sorted(
        once, key=lambda text: (text.split()[2] == "Lagos", text.split()[0] == "oil", int(text.split()[1]))
    )
    assert not [prompt for prompt in once if prompt.startswith("ink") and prompt.endswith("Lagos")]
    lagos = sum(prompt.endswith("Lagos") for prompt in once)
    assert 0 < lagos < 40
    assert len(drafts) == 2 * (40 - lagos) + 3 * lagos
    more = {draft.request.prompt for draft in rows_of(load(text.replace("n: 40", "n: 60")))}
    assert set(once) < more
    assert set(once) != {draft.request.prompt for draft in rows_of(load(text.replace("seed: 7", "seed: 8")))}


def test_a_sample_without_a_seed_is_that_of_seed_zero(prompts: Prompts) -> None:
    """So the same rows come again, and nothing is paid for twice."""
    text = 'prompt: "{n}"\nmatrix: {n: {from: 1, to: 100000}}\nsample: {n: 3}\n'
    assert prompts(text) == prompts(text.replace("n: 3", "n: 3, seed: 0")) == ["50495", "55128", "99348"]


def test_rows_that_come_while_a_sample_is_drawn_are_told(tmp_path: Path, load: Load) -> None:
    """What was drawn from other rows is not what was asked for."""
    table = tmp_path / "t.csv"
    table.write_text("city\nTokyo\nLagos\nOslo\n")
    manifest = load('prompt: "{city}"\ntable: t.csv\nsample: {n: 1}\n')
    log = ProblemLog()
    drafts = manifest.drafts(log)
    next(drafts)
    with table.open("a") as stream:
        stream.write("Bergen\n")
    list(drafts)
    assert "rows came or went" in "".join(map(str, log))


def test_counts_of_a_thousand_million_are_exact(load: Load) -> None:
    """With everything that changes them, and the first rows at hand."""
    text = """\
    defaults: {model: gemini-3.1-flash-image-preview, resolution: 1K, mood: calm}
    prompt: "{s} {n} {mood} {note}"
    variants: 2
    rows: [{}, {resolution: 2K, variants: 3}, {aspect_ratio: 1:1}]
    matrix: {s: [ink, oil], n: {from: 1, to: 1000000000}, note: [p, q]}
    exclude: [{s: ink, note: p, n: 5}, {resolution: 2K, s: oil}]
    include: [{s: gouache, n: 0, note: r, aspect_ratio: 1:1}, {s: chalk, mood: wild, n: 1}]
    """
    manifest = load(text)
    many = 10**9
    assert manifest.count() == 2 * (4 * many + 1) + 3 * (2 * many + 1) + 2 * (4 * many + 2)
    assert manifest.tally(("resolution", "mood")) == {
        ("1K", "calm"): 2 * (4 * many - 1) + 2 * (4 * many - 1 + 1),
        ("1K", "wild"): 2 * 2 + 2 * 2,
        ("2K", "calm"): 3 * (2 * many - 1),
        ("2K", "wild"): 3 * 2,
    }
    assert manifest.tally(("s", "aspect_ratio")) == {
        ("ink", ""): 2 * (2 * many - 1) + 3 * (2 * many - 1),
        ("oil", ""): 2 * 2 * many,
        ("chalk", ""): 2 * 2 + 3 * 2,
        ("ink", "1:1"): 2 * (2 * many - 1),
        ("oil", "1:1"): 2 * 2 * many,
        ("chalk", "1:1"): 2 * 2,
        ("gouache", "1:1"): 2,
    }
    drafts = list(manifest.drafts(ProblemLog(), 3))
    assert [draft.request.prompt for draft in drafts] == ["ink 1 calm p"] * 2 + ["ink 1 calm q"]
    assert [draft.variant for draft in drafts] == [1, 2, 1]


def test_a_limit_ends_also_where_no_row_is_good(load: Load) -> None:
    """The first rows of 10^9 bad ones are told, and not looked for among the others."""
    log = ProblemLog()
    manifest = load('prompt: "{n}"\nmatrix: {n: {from: 1, to: 1000000000}, resolution: [9K]}\n')
    assert list(manifest.drafts(log, 5)) == []
    assert "'9K' is not" in "".join(map(str, log))


def test_rows_of_many_kinds_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a product of its own, and only some are kept."""
    monkeypatch.setattr(grid, "_PRODUCTS_KEPT", 2)
    values = Column("s", ("a", "b"), ("", ""), ("a", "b"))
    entries = tuple(Entry(f"{n}", {"r": (f"{n}",), "s": ("a",)}, {}) for n in range(9))
    block = Block(
        Plain([{"r": f"{n % 9}"} for n in range(30)]), {}, factors=(Factor((values,)),), exclude=entries
    )
    made = Grid(block)
    assert made.count() == 30
    assert len(made._products) <= 2


def test_entries_that_overlap_in_too_many_ways_are_a_usage_error(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place of the first, before anything is sent."""
    monkeypatch.setattr(product, "MAX_NODES", 3)
    factors = "\n".join(f"  f{number}: [a, b]" for number in range(8))
    excludes = ", ".join(f"{{f{number}: a, f{number + 4}: a}}" for number in range(4))
    manifest = load(f"prompt: x\nmatrix:\n{factors}\nexclude: [{excludes}]\n")
    with pytest.raises(UsageError, match=r"m\.yaml:12:11: these entries overlap in too many ways"):
        manifest.count()


NAMES = ("a", "b", "c", "d", "r", "x")
TEXTS = st.sampled_from(["1", "2", "3"])
ENTRIES = st.lists(st.dictionaries(st.sampled_from(NAMES), TEXTS, min_size=1, max_size=3), max_size=3)

SEVERAL = st.lists(TEXTS, min_size=1, max_size=3).map(tuple)
EXCLUDES = st.lists(st.dictionaries(st.sampled_from(NAMES), SEVERAL, min_size=1, max_size=3), max_size=3)


def entry_of(at: str, values: dict[str, tuple[str, ...]]) -> Entry:
    """An entry of which each value has a place."""
    return Entry(at, values, dict.fromkeys(values, at))


@dataclass(frozen=True)
class Plain:
    """Rows that are simply there."""

    items: list[dict[str, str]]

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """All of them."""
        for number, item in enumerate(self.items):
            yield SourceRow(f"row {number}", dict(item))

    def idle(self) -> Iterator[tuple[str, str]]:
        """Nothing."""
        return iter(())


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """`zip` of a and b, factors c and d, rows that may give r, a default x; entries about any of them."""
    pairs = draw(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3, unique=True))
    listed = [draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True)) for _ in range(2)]

    def column(name: str, values: Sequence[str]) -> Column:
        return Column(name, tuple(values), tuple(values), tuple(values))

    zipped = Factor((column("a", [one for one, _ in pairs]), column("b", [two for _, two in pairs])))
    factors = (zipped, *(Factor((column(name, values),)) for name, values in zip("cd", listed, strict=True)))
    rows = draw(st.lists(st.dictionaries(st.sampled_from(["r", "variants"]), TEXTS), max_size=3))
    includes = [entry for entry in draw(ENTRIES) if ("a" in entry) == ("b" in entry)]
    return Block(
        Plain(rows),
        {"x": Given("1", "")},
        factors=factors,
        exclude=tuple(entry_of(f"exclude {n}", wanted) for n, wanted in enumerate(draw(EXCLUDES))),
        include=tuple(
            entry_of(f"include {n}", {name: (text,) for name, text in entry.items()})
            for n, entry in enumerate(includes)
        ),
        row_names=frozenset(name for row in rows for name in row),
    )


def built(block: Block) -> list[dict[str, str]]:
    """The combinations as the page on manifests says them, one by one."""
    found: list[dict[str, str]] = []
    assert isinstance(block.source, Plain)
    for row in block.source.items:
        base = {"x": "1", **row}
        levels = [
            [
                dict(zip(factor.names, texts, strict=True))
                for texts in zip(*(c.values for c in factor.columns), strict=True)
            ]
            for factor in block.factors
        ]
        here = [dict(ChainMap(*point, base)) for point in itertools.product(*levels)]
        here = [
            values
            for values in here
            if not any(
                all(values.get(name) in texts for name, texts in entry.values.items())
                for entry in block.exclude
            )
        ]
        for entry in block.include:
            values = {name: texts[0] for name, texts in entry.values.items()}
            sets = {name: text for name, text in values.items() if name not in block.row_names}
            asks = {name: text for name, text in values.items() if name in block.row_names}
            chosen = [
                [sets] if sets.keys() & set(factor.names) else own
                for factor, own in zip(block.factors, levels, strict=True)
            ]
            for point in itertools.product(*chosen) if asks.items() <= base.items() else ():
                values = dict(ChainMap(sets, *point, base))
                if values not in here:
                    here.append(values)
        found += here
    return found


@given(blocks())
@settings(deadline=None)
def test_a_grid_is_what_the_page_says(block: Block) -> None:
    """Order, count, every tally, whatever entries ask for."""
    made, wanted = Grid(block), built(block)
    assert [values for _, _, values in made.cells(ProblemLog())] == wanted
    assert made.count() == sum(int(values.get("variants", "1")) for values in wanted)
    for names in [("a",), ("c", "x"), ("r", "b", "d"), ("x", "nothing"), ()]:
        tally: Counter[tuple[str, ...]] = Counter()
        for values in wanted:
            tally[tuple(values.get(name, "") for name in names)] += int(values.get("variants", "1"))
        assert made.tally(names) == tally


@given(blocks(), st.integers(1, 60), st.integers(0, 3))
@settings(deadline=None)
def test_a_sampled_grid_is_part_of_the_whole_in_its_order(block: Block, count: int, seed: int) -> None:
    """With as many as were asked for or as there are, counted and tallied like any other."""
    whole = [(row.source, point.levels) for row, point, _ in Grid(block).cells(ProblemLog())]
    made = Grid(replace(block, sample=Sample("", count, seed)))
    cells = list(made.cells(ProblemLog()))
    drawn = [(row.source, point.levels) for row, point, _ in cells]
    assert len(drawn) == len(set(drawn)) == min(count, len(whole))
    assert drawn == [cell for cell in whole if cell in drawn]
    variants = [int(str(values.get("variants", "1"))) for _, _, values in cells]
    assert made.count() == sum(variants)
    tally: Counter[tuple[str, ...]] = Counter()
    for (_, _, values), times in zip(cells, variants, strict=True):
        tally[str(values["c"]), str(values["x"])] += times
    assert made.tally(("c", "x")) == tally


def test_a_field_with_more_values_than_any_model_allows_is_refused_before_they_are_counted(
    load: Load,
) -> None:
    """A plan counts rows by each combination of these fields, and would never end."""
    for text in ("matrix: {resolution: {from: 1, to: 1000000000000}}", "zip: {model: {from: 1, to: 101}}"):
        with pytest.raises(ManifestError, match="values; no model allows so many"):
            load(f"prompt: x\n{text}\n")
    assert load("prompt: x\nmatrix: {resolution: {from: 1, to: 100}}\n").count() == 100


def test_many_entries_that_change_nothing_are_told_in_part(load: Load) -> None:
    """A suggestion takes time to find, and nobody reads thousands."""
    entries = ", ".join(f"{{n: valeu {n}}}" for n in range(60))
    manifest = load(f'prompt: "{{n}}"\nmatrix: {{n: [value 1, value 2]}}\nexclude: [{entries}]\n')
    assert manifest.count() == 2
    assert len(manifest.warnings) == 51
    assert manifest.warnings[-1] == "and more entries that change nothing"


def test_words_of_included_levels_stay_different(load: Load) -> None:
    """Also from those that a factor beside it has, and from each other."""
    manifest = load(
        'prompt: "{a}{b}"\nrows: [{id: r}]\nzip: {a: [x, y], b: [1, 2]}\n'
        'include: [{a: X, b: 1}, {a: "x!", b: 1}, {a: z, b: 1}, {a: Z, b: 1}]\n'
    )
    ids = [draft.id for draft in manifest.drafts(ProblemLog())]
    assert ids == ["r-x-1", "r-y-2", "r-x-1-3", "r-x-1-4", "r-z-1", "r-z-1-6"]
