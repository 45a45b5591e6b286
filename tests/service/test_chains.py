"""Runs over the images of other runs, end to end; the service's ledger says what was paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.jobs import retry as retry_job
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.order import refuse_parents
from nanobanana_batch.jobs.plan import make_plan
from nanobanana_batch.jobs.retry import Retry
from nanobanana_batch.results import read_results
from tests.service.conftest import Api, Start
from tests.service.test_local_images import Bench
from tests.unit.fake_provider import picture

DEFAULTS = "defaults: {model: gemini-3.1-flash-image-preview, resolution: 0.5K}\n"
CARDS = (
    DEFAULTS + 'prompt: "{subject}, {style}"\nmatrix: {style: [ink, oil]}\nrows:\n'
    "  - {id: lighthouse, subject: a lighthouse}\n  - {id: mill, subject: a mill}\n"
)
EDIT = DEFAULTS + 'images: "{image}"\nprompt: "{row.prompt}, at night"\nfrom: '


class Chain:
    """Manifests that build on each other, one service, and an output folder for each."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api = api
        self.folder = folder

    def stage(self, name: str, text: str) -> Bench:
        """A manifest whose output folder has its name."""
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        return Bench(self.api, self.folder, path, out=name)

    def paid_for_by(self, stage: Bench, **settings: Any) -> list[dict[str, Any]]:
        """The requests that one more run of a stage pays for, in the order of their tasks."""
        before = len(self.api.ledger().tasks)
        stage.run(**settings)
        return [json.loads(task.body) for task in self.api.ledger().tasks[before:]]


@pytest.fixture
def chain(start: Start, tmp_path: Path) -> Chain:
    """A service of its own, and a folder for manifests and outputs."""
    return Chain(start(), tmp_path)


def sent_images(stage: Bench) -> dict[str, list[bytes]]:
    """The reference images that each row's request really named, as the provider holds them."""
    sent = {}
    query = (
        "SELECT rows.id, body FROM rows JOIN attempts USING (attempt)"
        " JOIN requests ON requests.request = attempts.request WHERE position IS NOT NULL"
    )
    for id_, body in stage.query(query):
        urls = json.loads(body)["image_urls"]
        sent[id_] = [httpx.get(url, trust_env=False).content for url in urls]
    return sent


def test_an_edit_run_follows_a_generation_run(chain: Chain) -> None:
    """Each edit carries the image of its parent, and says which that is; nothing is paid twice."""
    cards = chain.stage("cards", CARDS)
    nights = chain.stage("nights", EDIT + "cards\nmatrix: {season: [winter, summer]}\nwhere: {style: ink}\n")
    assert len(chain.paid_for_by(cards)) == 4
    paid = chain.paid_for_by(nights)
    assert sorted(body["prompt"] for body in paid) == sorted(
        ["a lighthouse, ink, at night"] * 2 + ["a mill, ink, at night"] * 2
    )
    results = read_results(nights.out)
    assert list(results["id"]) == [
        "lighthouse-ink-winter",
        "lighthouse-ink-summer",
        "mill-ink-winter",
        "mill-ink-summer",
    ]
    made = read_results(cards.out)
    image_of = dict(zip(made["id"], made["image"], strict=True))
    sent = sent_images(nights)
    for id_, parent in zip(results["id"], results["parent_id"], strict=True):
        assert sent[id_] == [(cards.out / image_of[parent]).read_bytes()]
    assert list(results["style"]) == ["ink"] * 4
    assert chain.paid_for_by(nights) == chain.paid_for_by(cards) == []


def test_a_row_that_is_completed_later_is_one_more_edit(chain: Chain) -> None:
    """The others are not paid for again."""
    cards, nights = chain.stage("cards", CARDS), chain.stage("nights", EDIT + "cards\n")
    chain.api.faults(next={"refuse_task": 1})
    cards.run()
    assert make_plan(nights.order, 0).rows == 3
    assert len(chain.paid_for_by(nights)) == 3
    again = retry_job.retry(cards.out, Retry.REFUSED, cards.order.connection, Settings(), Tally())
    assert again.exit_code == 0
    assert len(chain.paid_for_by(nights)) == 1
    assert len(read_results(nights.out)) == 4


def test_a_parent_that_is_made_anew_is_edited_anew(chain: Chain) -> None:
    """Only that one: its image is another; its id stays."""
    cards, nights = chain.stage("cards", CARDS), chain.stage("nights", EDIT + "cards\n")
    cards.run()
    nights.run()
    chain.stage("cards", CARDS.replace("subject: a mill", "subject: a windmill")).run()
    paid = chain.paid_for_by(nights)
    assert sorted(body["prompt"] for body in paid) == [
        "a windmill, ink, at night",
        "a windmill, oil, at night",
    ]
    assert list(read_results(nights.out)["id"]) == [
        "lighthouse-ink",
        "lighthouse-oil",
        "mill-ink",
        "mill-oil",
    ]
    assert chain.paid_for_by(nights) == []


def test_moved_folders_and_reordered_rows_pay_for_nothing(chain: Chain) -> None:
    """What counts is the image, not where it lies."""
    cards, nights = chain.stage("cards", CARDS), chain.stage("nights", EDIT + "cards\n")
    cards.run()
    nights.run()
    cards.out.rename(chain.folder / "moved")
    chain.stage("nights", EDIT + "moved\n")
    assert chain.paid_for_by(nights) == []


def test_three_links_each_know_the_one_before(chain: Chain) -> None:
    """Edits of edits: `parent_id` is the row before, and what it said is one step further."""
    chain.stage("cards", CARDS).run()
    chain.stage("nights", EDIT + 'cards\nid: "{id}-night"\n').run()
    snow = EDIT.replace("at night", "in snow")
    last = chain.stage("snows", snow + 'nights\nid: "{id}-snow"\ncolumns: {grandparent: row.parent_id}\n')
    assert [body["prompt"] for body in chain.paid_for_by(last, concurrency=1)] == [
        "a lighthouse, ink, at night, in snow",
        "a lighthouse, oil, at night, in snow",
        "a mill, ink, at night, in snow",
        "a mill, oil, at night, in snow",
    ]
    first = read_results(last.out).iloc[0]
    assert (first["id"], first["parent_id"], first["grandparent"], first["style"]) == (
        "lighthouse-ink-night-snow",
        "lighthouse-ink-night",
        "lighthouse-ink",
        "ink",
    )
    nights = read_results(chain.folder / "nights")
    for row, image in zip(nights.itertuples(), sent_images(last).values(), strict=True):
        assert image == [(chain.folder / "nights" / str(row.image)).read_bytes()]


def test_an_image_that_changes_between_reading_and_sending_is_not_sent(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row fails at no cost, and the next run edits what is there then; the others go on."""
    cards, nights = chain.stage("cards", CARDS), chain.stage("nights", EDIT + "cards\n")
    cards.run()
    target = cards.out / "images" / "mill-ink.png"
    other = picture("somebody has painted over it")

    def meanwhile(*checked: Any) -> None:
        refuse_parents(*checked)
        target.write_bytes(other)

    monkeypatch.setattr(run_job, "refuse_parents", meanwhile)
    paid = chain.paid_for_by(nights)
    assert sorted(body["prompt"] for body in paid) == [
        "a lighthouse, ink, at night",
        "a lighthouse, oil, at night",
        "a mill, oil, at night",
    ]
    assert list(read_results(nights.out)["status"]).count("failed") == 1
    assert len(chain.paid_for_by(nights)) == 1
    assert sent_images(nights)["mill-ink"] == [other]
