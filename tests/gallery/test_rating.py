"""Rating in a real browser: by keys, saved by the server or kept for files, and pairs of the same prompt."""

from __future__ import annotations

import csv
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.judgements import Judgement, Verdict, read_judged, save_judged
from nanobanana_batch.collection.preferences import Better, pairs, read_choices
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.galleries.build import Order, build
from nanobanana_batch.galleries.server import Server, Shown
from nanobanana_batch.spreadsheets import guarded
from tests.gallery.browser import chromium
from tests.gallery.made_run import MODELS, Row, make_run, scene

HOSTILE = '</script><img src=x onerror=alert(1)>; =cmd|"x",\n\u202eRTL \U0001f98a'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for all tests here."""
    with chromium() as started:
        yield started


@dataclass
class Seen:
    """A page, and what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def looking(browser: Any, address: str) -> Iterator[Seen]:
    """A page of its own; nothing may go wrong in it, and nothing may be asked for elsewhere."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    seen = Seen(page)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda word: seen.errors.append(word.text) if word.type == "error" else None)
    page.on("request", lambda request: seen.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector(".tile.known, .pairs")
    yield seen
    page.evaluate("window.onbeforeunload = null")
    context.close()


@contextmanager
def serving(folders: tuple[Path, ...], page: Path, disk: Disk | None = None) -> Iterator[Server]:
    """In a thread of this process."""
    server, is_ready = Server(Shown(page, folders), disk=disk), threading.Event()
    thread = threading.Thread(target=server.run, args=(lambda address: is_ready.set(),))
    thread.start()
    assert is_ready.wait(10)
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def rows(count: int = 4, styles: tuple[str, ...] = ("ink",), model: str = MODELS[0]) -> list[Row]:
    """Prompts by styles; every style is of the same prompt."""
    return [
        Row(
            f"fox-{number}-{style}",
            HOSTILE if number == 0 else f"fox {number}",
            {"style": style},
            model,
            images=(scene(number * 7 + at, size=(96, 64)),),
        )
        for number in range(count)
        for at, style in enumerate(styles)
    ]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with a gallery."""
    make_run(tmp_path / "out", [*rows(), Row("gone", "no image", {"style": "ink"}, end="failed")])
    build(Order((tmp_path / "out",)))
    return tmp_path / "out"


def judged(folder: Path) -> dict[str, Judgement]:
    """What ratings.csv says, by id."""
    return {one.id: one.judgement for one in read_judged(folder)}


def saved(page: Any) -> None:
    """Wait until the page says so."""
    page.wait_for_selector(".saying:has-text('All saved')")


def test_keys_rate_and_the_folder_knows_at_once(browser: Any, out: Path) -> None:
    """On the thumbnails and in full; undone, taken back, and there again when the page is loaded anew."""
    with serving((out,), out / "gallery/index.html") as server, looking(browser, server.address) as seen:
        page = seen.page
        saved(page)
        page.keyboard.press("g")
        page.locator(".canvas").focus()
        page.keyboard.press("4")
        page.wait_for_selector("#tile-0 .is-rated:has-text('★★★★')")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("5")
        page.keyboard.press("a")
        page.wait_for_selector("#tile-1 .is-accepted")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        page.wait_for_selector("#tile-2 .is-rejected")
        page.keyboard.press("1")
        page.wait_for_selector("#tile-2 .is-rated")
        page.keyboard.press("u")
        page.wait_for_selector("#tile-2 .is-rated", state="detached")
        page.keyboard.press("n")
        page.wait_for_selector(".note-text:focus")
        page.keyboard.insert_text("=1+1, a3x")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('.note-text').value === '=1+1, a3x'")
        page.keyboard.press("Escape")
        saved(page)
        assert judged(out) == {
            "fox-0-ink": Judgement(4),
            "fox-1-ink": Judgement(5, Verdict.ACCEPTED),
            "fox-2-ink": Judgement(None, Verdict.REJECTED, "=1+1, a3x"),
        }
        page.reload()
        page.wait_for_selector("#tile-1 .is-accepted")
        page.wait_for_selector("#tile-0 .is-rated")
        page.locator(".canvas").focus()
        page.keyboard.press("0")
        page.wait_for_selector("#tile-0 .is-rated", state="detached")
        page.keyboard.press("End")
        page.keyboard.press("3")
        page.wait_for_selector("#said.shown:has-text('no image')")
        saved(page)
        assert sorted(judged(out)) == ["fox-1-ink", "fox-2-ink"]
        assert seen.errors == []
        assert {address.split("/")[2] for address in seen.asked} == {f"127.0.0.1:{server.port}"}


class Refusing(Disk):
    """Takes nothing until it is told to."""

    is_full = True

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """As a full one says it."""
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().write(fd, data)


def test_what_is_not_saved_is_seen_and_tried_again(browser: Any, out: Path) -> None:
    """Nothing of it is lost meanwhile, and it stands in the folder as soon as that takes it."""
    disk = Refusing()
    page_file = out / "gallery/index.html"
    with serving((out,), page_file, disk) as server, looking(browser, server.address) as seen:
        page = seen.page
        saved(page)
        page.locator(".canvas").focus()
        page.keyboard.press("2")
        page.wait_for_selector(".saying.is-failed:has-text('Not saved: 1.')")
        page.wait_for_selector(".saying:has-text('The disk is full')")
        page.keyboard.press("3")
        page.wait_for_selector("#tile-0 .is-rated:has-text('★★★')")
        assert not out.joinpath("ratings.csv").exists()
        disk.is_full = False
        saved(page)
        assert judged(out) == {"fox-0-ink": Judgement(3)}


def test_much_that_was_not_saved_goes_in_messages_that_the_server_takes(browser: Any, out: Path) -> None:
    """However long it was away, and however long prompts are; half an emoji holds nothing up."""
    disk = Refusing()
    page_file = out / "gallery/index.html"
    with serving((out,), page_file, disk) as server, looking(browser, server.address) as seen:
        page = seen.page
        saved(page)
        page.evaluate(
            """async () => {
              const records = await Promise.all([0, 1, 2].map((n) => Gallery.fetchItem(n)));
              await Gallery.judge(0, {rating_note: "so \ud83c"});
              const prompt = "猫".repeat(90000);
              for (let n = 0; n < 40; n += 1) {
                const one = {...records[0], row_key: `r1-${n}`, prompt};
                Gallery.choose(one, {...records[1], prompt}, "first");
              }
            }"""
        )
        page.wait_for_selector(".saying.is-failed:has-text('Not saved: 41.')")
        disk.is_full = False
        saved(page)
        assert judged(out) == {"fox-0-ink": Judgement(None, None, "so \ufffd")}
        assert len(read_choices(out)) == 40


def test_two_pages_and_a_person_do_not_lose_each_others_words(browser: Any, out: Path) -> None:
    """Whoever speaks of another picture adds to the file; the last word on one counts."""
    with (
        serving((out,), out / "gallery/index.html") as server,
        looking(browser, server.address) as one,
        looking(browser, server.address) as other,
    ):
        for seen, stars in ((one, "1"), (other, "5")):
            saved(seen.page)
            seen.page.locator(".canvas").focus()
            seen.page.keyboard.press(stars)
            saved(seen.page)
            seen.page.wait_for_selector("#tile-0 .is-rated")
        saved(other.page)
        text = out.joinpath("ratings.csv").read_text("utf-8-sig").replace("\n", ",mine\n", 1).rstrip("\n")
        out.joinpath("ratings.csv").write_text(f"{text},my words\n", "utf-8")
        one.page.keyboard.press("ArrowRight")
        one.page.keyboard.press("2")
        one.page.wait_for_selector("#tile-1 .is-rated")
        saved(one.page)
        assert judged(out) == {"fox-0-ink": Judgement(5), "fox-1-ink": Judgement(2)}
        assert "my words" in out.joinpath("ratings.csv").read_text("utf-8")


def test_without_a_server_the_page_keeps_what_was_said_and_gives_it_out(
    browser: Any, out: Path, tmp_path: Path
) -> None:
    """In the very bytes that would have been saved; and it is there when the page is opened again."""
    address = (out / "gallery/index.html").as_uri()
    with looking(browser, address) as seen:
        page = seen.page
        page.locator(".canvas").focus()
        page.keyboard.press("4")
        page.wait_for_selector("#tile-0 .is-rated")
        page.keyboard.press("n")
        page.wait_for_selector(".note-text:focus")
        page.keyboard.insert_text('@SUM(A1), "so"\u2028 =x')
        page.keyboard.press("Escape")
        page.wait_for_selector(".saying:has-text('1 kept in this browser only')")
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        page.wait_for_selector("#tile-1 .is-rejected")
        page.reload()
        page.wait_for_selector("#tile-1 .is-rejected")
        with page.expect_download() as download:
            page.click(".saying button")
        assert download.value.suggested_filename == "ratings.csv"
        download.value.save_as(tmp_path / "given/ratings.csv")
        texts = ["=1", "'=1", "-1;=x", "\t", "a\r\n@b", "\U000e0001=1", "-", "-5", ' "=', "a=b", "''+"]
        assert page.evaluate("(texts) => texts.map(Gallery.guarded)", texts) == list(map(guarded, texts))
        assert seen.errors == []
        assert all(address.startswith(("file:", "blob:")) for address in seen.asked)
    given = list(read_judged(tmp_path / "given"))
    assert [(one.id, one.judgement) for one in given] == [
        ("fox-0-ink", Judgement(4, None, '@SUM(A1), "so"\u2028 =x')),
        ("fox-1-ink", Judgement(None, Verdict.REJECTED)),
    ]
    save_judged(out, given, Disk())
    assert out.joinpath("ratings.csv").read_bytes() == tmp_path.joinpath("given/ratings.csv").read_bytes()


def test_a_pair_of_pictures_is_judged_by_keys(browser: Any, tmp_path: Path) -> None:
    """Of two folders; each image is compared in the first rounds, and the file says what was seen."""
    one, two = tmp_path / "one", tmp_path / "two"
    make_run(one, rows(2, ("ink", "photo")))
    make_run(two, rows(2, ("neon",), MODELS[1]))
    page_file = build(Order((one, two), out=tmp_path / "both")).path
    with serving((one, two), page_file) as server, looking(browser, server.address) as seen:
        page = seen.page
        saved(page)
        page.keyboard.press("p")
        page.wait_for_selector(".pairs-progress:has-text('0 of 6 pairs')")
        assert page.locator(".pairs-prompt").text_content() == HOSTILE
        seen_pairs = []
        for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "s"):
            shown = page.get_attribute(".pairs", "data-pair")
            seen_pairs.append(shown)
            page.keyboard.press(key)
            page.wait_for_selector(f".pairs:not([data-pair='{shown}'])")
        assert len({item for pair in seen_pairs for item in str(pair).split()}) == 6
        page.wait_for_selector(".pairs-progress:has-text('4 of 6 pairs judged · 6 of 6 images compared')")
        page.keyboard.press("u")
        page.wait_for_selector(".pairs-progress:has-text('3 of 6')")
        saved(page)
        found = list(pairs(Collection([one, two])))
        assert sorted(pair.better for pair in found) == sorted([Better.TIE, *_winners(found)])
        assert {pair.prompt for pair in found} == {HOSTILE, "fox 1"}
        page.reload()
        page.wait_for_selector(".pairs-progress:has-text('3 of 6')")
        assert seen.errors == []
    assert json.dumps(HOSTILE)[1:-1] not in one.joinpath("preferences.csv").read_text("utf-8")
    with one.joinpath("preferences.csv").open(encoding="utf-8-sig", newline="") as file:
        assert {line["second_folder"] for line in csv.DictReader(file)} <= {"", "../two"}
    build(Order((one, two), out=tmp_path / "both"))
    with looking(browser, f"{page_file.as_uri()}#view=pairs") as seen:
        seen.page.wait_for_selector(".pairs-progress:has-text('3 of 6')")
        files = dict(seen.page.evaluate("Gallery.files()"))
        before = one.joinpath("preferences.csv").read_bytes().decode()
        assert files["one-preferences.csv"] == before
        assert seen.errors == []
    assert len(read_choices(one)) + len(read_choices(two)) == 3


def _winners(found: list[Any]) -> list[Better]:
    return [pair.better for pair in found if pair.chosen is not None]


def test_a_port_that_is_taken_is_told(out: Path) -> None:
    """Before anything else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be had"):
            Server(Shown(out / "gallery/index.html", (out,)), port=taken.getsockname()[1])
