"""What a real browser makes of a gallery that is opened from disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

import nanobanana_batch as nb
from tests.gallery.browser import Opened, chromium, ids
from tests.gallery.made_run import MODELS, Row, local_image, make_run, scene
from tests.gallery.test_build import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MADE_OF_TEXT = (
    "[...document.querySelectorAll('b, img')].some((e) => e.textContent === 'ink' || /[/=]x$/.test(e.src))"
)
CONTRAST = Path(__file__).with_name("contrast.js")
STYLES, CITIES = ("ink", "photo"), ("Tokyo", "Lagos", "Lima")


def rows(source: Path) -> Iterator[Row]:
    """Two styles by three cities from two models, an edit, a hostile one, and some without an image."""
    for n, (style, city, model) in enumerate((s, c, m) for m in MODELS[:2] for s in STYLES for c in CITIES):
        variables = {"style": style, "city": city}
        name = f"{city.lower()}-{style}-{model[-4:]}"
        drawn = scene(n, style, (96, 96), "PNG")
        yield Row(name, f"A {style} view of {city}", variables, model, images=(drawn,), credits=4.0 + n)
    edited = scene(50, size=(96, 96), kind="PNG")
    yield Row("edit", "make it bluer", {"style": "ink"}, images=(edited,), files=(local_image(source),))
    yield Row(
        "hostile", HOSTILE, {"style": "<b>ink", "city": '"><img src=x>'}, images=(scene(51, size=(64, 96)),)
    )
    reason = ("content_policy_violation", '<img src="https://evil.example/x"> was refused')
    yield Row("riot", "a riot", {"style": "ink", "city": "Lima"}, end="refused", error=reason)
    yield Row("busy", "a queue", {"style": "photo", "city": "Oslo"}, end="failed")
    yield Row("late", "a train", {"style": "photo", "city": "Oslo"}, end="expired")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its gallery."""
    place = tmp_path_factory.mktemp("gallery pages & more")
    (place / "source.jpg").write_bytes(scene(49, size=(96, 96)))
    make_run(place / "run #1", rows(place / "source.jpg"))
    nb.gallery(place / "run #1")
    return place / "run #1"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def wide(browser: Browser, folder: Path) -> Iterator[Opened]:
    """A window of a desk, in daylight."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    yield Opened(context.new_page(), folder / "gallery/index.html")
    context.close()


@pytest.fixture
def opened(wide: Opened) -> Iterator[Opened]:
    """Afterwards nothing was complained of, and nothing was asked of anybody."""
    wide.said.clear()
    wide.asked.clear()
    yield wide
    wide.is_clean()


def test_it_opens_from_disk_and_shows_pictures(opened: Opened) -> None:
    """All of them, with a head that counts what did not come, and what it cost."""
    page = opened.at()
    page.wait_for_selector("img.thumb.there")
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every((i) => i.naturalWidth)")
    assert page.locator(".tile.known img").count() >= 8
    assert page.get_attribute(".tile", "aria-setsize") == "17"
    head = page.inner_text("#head")
    assert re.search(r"14\s+completed\s+1\s+expired\s+1\s+failed\s+1\s+refused", head)
    assert "126" in head
    assert "4\nof them for rows without an image" in head
    assert any(url.endswith(".webp") for url in opened.asked)


def test_texts_of_strangers_are_texts(opened: Opened) -> None:
    """They make no element and no request, wherever they are shown."""
    for view in ("", "view=table", "view=compare", "view=compare&across=model", "item=13", "item=14"):
        page = opened.at(view)
        page.wait_for_function("() => document.querySelector('.tile.known, dialog[open] .panel')")
        assert not page.evaluate(MADE_OF_TEXT), view
    assert "<img src=" in page.inner_text("#single")
    opened.at("item=13")
    page.wait_for_selector("dialog[open] .prompt")
    assert page.evaluate("document.querySelector('.prompt p').textContent") == HOSTILE
    assert page.evaluate("performance.getEntriesByType('resource').every((e) => e.name.startsWith('file:'))")


def test_the_policy_holds(opened: Opened) -> None:
    """Even a script that was smuggled in could neither run nor ask for anything."""
    page = opened.at()
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.smuggled = 1';
          document.body.append(script);
          const image = document.createElement('img');
          image.src = 'http://127.0.0.1:9/x.png';
          document.body.append(image);
        }"""
    )
    page.wait_for_timeout(50)
    assert page.evaluate("window.smuggled") is None
    assert len(opened.said) >= 2
    assert all("Content Security Policy" in said for said in opened.said)
    opened.said.clear()
    opened.asked.clear()


ODD = (
    "constructor",
    "__proto__",
    "toString",
    "looking_at",
    "url",
    "sources",
    "extra",
    "saved_at",
    "#text",
    "length",
)


def test_a_variable_may_have_any_name(browser: Browser, tmp_path: Path) -> None:
    """Also one that every object of the language has, or that ends like a time."""
    values = ("constructor", "__proto__", "toString")
    rows = [
        Row(f"r{n}", "a fox", dict.fromkeys(ODD, value), images=(scene(n, size=(40, 30), kind="PNG"),))
        for n, value in enumerate(values)
    ]
    make_run(
        tmp_path / "run", [*rows, Row("no", "a fox", {}, end="refused", error=("constructor", "toString"))]
    )
    nb.gallery(tmp_path / "run")
    context = browser.new_context()
    odd = Opened(context.new_page(), tmp_path / "run/gallery/index.html")
    page = odd.at("f.constructor=toString&f.__proto__=toString")
    assert ids(page) == ["r2"]
    odd.at("view=table&rows=__proto__&cols=constructor")
    assert page.locator(".table-side .side").all_inner_texts() == [*values, "none"]
    odd.at("item=1")
    page.wait_for_selector("dialog[open] .original")
    facts = page.inner_text(".facts")
    assert facts.count("__proto__") == len(ODD)
    odd.at("item=3")
    page.wait_for_selector("dialog[open] .stage-none")
    assert page.locator("a:has-text('Open file')").count() == 0
    assert "native code" not in page.inner_text("#single")
    odd.is_clean()
    context.close()


def test_search(opened: Opened) -> None:
    """In all prompts and ids; words, words in quotes, and words that are not to be there."""
    page = opened.at()
    page.keyboard.press("/")
    page.keyboard.type('tokyo "a photo" -beta')
    page.wait_for_function("() => Gallery.state.q && Gallery.order.length === 2")
    assert all(name.startswith("tokyo-photo") for name in ids(page))
    assert "q=tokyo" in page.url
    page.fill("#search", "RIOT")
    page.wait_for_function("() => Gallery.order.length === 1")
    page.fill("#search", "nobody")
    page.wait_for_selector(".empty")
    page.click("text=Show all >> nth=-1")
    page.wait_for_function("() => Gallery.order.length === 17")


def test_filters(opened: Opened) -> None:
    """By status, variable and number; counts say what there would be; the address keeps it all."""
    page = opened.at()
    page.click("#filters .choice:has-text('refused')")
    page.wait_for_function("() => Gallery.order.length === 1")
    assert "refused" in page.inner_text(".tile .why")
    address = page.url
    page.click("#filters >> text=Show all")
    page.click("#filters .choice:has-text('photo')")
    page.wait_for_function("() => Gallery.order.length === 8")
    assert page.inner_text("#filters .choice:has(.choice-text:text-is('failed')) .choice-count") == "1"
    opened.at(address.partition("#")[2])
    assert ids(page) == ["riot"]
    opened.at("n.credits=10..12&sort=-credits")
    assert page.evaluate("Gallery.order.map((n) => Gallery.index.credits[n])") == [12, 11, 10]


def test_table(opened: Opened) -> None:
    """Rows by columns, with how many there are; a cell opens what is in it."""
    page = opened.at("view=table&rows=city&cols=style")
    page.wait_for_selector(".cell img.there")
    assert page.evaluate("[...document.querySelectorAll('.table-head .side')].map((e) => e.textContent)") == [
        "ink",
        "photo",
        "<b>ink",
    ]
    assert page.inner_text("#cell-0-0 .count") == "2"
    assert page.inner_text("#cell-2-0 .count") == "2 of 3"
    page.focus(".table-cells")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .panel")
    assert "1 of 2" in page.inner_text(".tools")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")


def test_an_edit_beside_its_source(opened: Opened) -> None:
    """With a slider, by mouse and by key."""
    page = opened.at("view=compare")
    page.wait_for_selector(".slider")
    shown = "[...document.querySelectorAll('.band img')].every((i) => i.complete && i.naturalWidth > 0)"
    page.wait_for_function(f"() => {shown}")
    box = page.locator(".slider").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 20)
    at = page.evaluate("parseFloat(document.querySelector('.slider').style.getPropertyValue('--at'))")
    assert 15 < at < 35
    page.keyboard.press("ArrowRight")
    after = page.evaluate("parseFloat(document.querySelector('.slider').style.getPropertyValue('--at'))")
    assert after > at
    opened.at("item=12")
    page.wait_for_selector("dialog[open] .panel")
    page.keyboard.press("s")
    page.wait_for_selector("dialog[open] .slider.is-large")
    page.wait_for_function(
        "[...document.querySelectorAll('.slider.is-large img')].every((i) => i.naturalWidth)"
    )


def test_models_side_by_side(opened: Opened) -> None:
    """The same prompt from each."""
    page = opened.at("view=compare&across=model")
    page.wait_for_selector(".band-row img.there")
    assert page.inner_text(".choosers-count") == "6 prompts"
    assert page.locator(".band").first.locator("figcaption").all_inner_texts() == list(MODELS[:2])


def test_keyboard_alone(opened: Opened) -> None:
    """From the grid into an image, on to the next, and back to where one was."""
    page = opened.at()
    page.focus(".canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .original")
    assert "3 of 17" in page.inner_text(".tools")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.tools-place')?.textContent === '4 of 17'")
    page.wait_for_function("() => document.querySelector('.original').naturalWidth === 96")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.classList.contains('canvas')")
    assert page.get_attribute(".canvas", "aria-activedescendant") == "tile-3"
    page.keyboard.press("?")
    assert page.is_visible("#help")
    assert "The next one" in page.inner_text("#help")
    page.keyboard.press("?")
    assert not page.is_visible("#help")
    page.keyboard.press("t")
    page.wait_for_selector(".matrix")


def test_the_keyboard_stays_where_it_is(opened: Opened) -> None:
    """Who gives a star by Tab and Enter goes on to the verdict from there, and not from the beginning."""
    page = opened.at("item=1")
    page.wait_for_selector("dialog[open] .star")
    page.focus(".star >> nth=2")
    page.keyboard.press("Enter")
    page.wait_for_selector('.star[aria-pressed="true"]')
    page.wait_for_function("() => document.activeElement.getAttribute('aria-pressed') === 'true'")
    page.focus(".note-text")
    page.keyboard.type("so")
    page.evaluate("Gallery.showSingle()")
    page.wait_for_function("() => document.activeElement.value === 'so'")
    page.keyboard.press("Escape")
    page.wait_for_function("() => Gallery.item(1).rating_note === 'so'")
    page.evaluate("localStorage.clear()")
    page.keyboard.press("Escape")


def test_all_that_is_known_is_told(opened: Opened) -> None:
    """And why there is no image, and what that cost."""
    page = opened.at("item=14")
    page.wait_for_selector("dialog[open] .panel")
    told = page.inner_text("#single")
    assert "content_policy_violation" in told
    assert "It has cost 0 credits" in told
    opened.at("item=0")
    page.wait_for_selector("dialog[open] .facts")
    facts = page.inner_text(".facts")
    assert "row key" in facts
    assert "r1-" in facts
    assert "SHA-256" in facts


def test_light_and_dark(opened: Opened, browser: Browser) -> None:
    """As the system has it, until somebody says otherwise."""
    back = "getComputedStyle(document.body).backgroundColor"
    page = opened.at()
    light = page.evaluate(back)
    page.click("#theme")
    dark = page.evaluate(back)
    assert dark != light
    page.click("#theme")
    context = browser.new_context(color_scheme="dark")
    night = Opened(context.new_page(), opened.file)
    assert night.at().evaluate(back) == dark
    night.is_clean()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(browser: Browser, folder: Path, scheme: Literal["light", "dark"]) -> None:
    """In every view, as WCAG AA has it: four and a half to one."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    seen = Opened(context.new_page(), folder / "gallery/index.html")
    for view in ("", "f.status=refused", "view=table", "view=compare", "item=0", "item=14"):
        page = seen.at(view)
        page.wait_for_selector("dialog[open] .panel" if "item" in view else ".tile.known, .empty")
        assert page.evaluate(CONTRAST.read_text("utf-8")) == [], view
    seen.is_clean()
    context.close()


def test_a_telephone(browser: Browser, folder: Path) -> None:
    """Nothing is wider than the screen; filters open over it."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    phone = Opened(context.new_page(), folder / "gallery/index.html")
    for view in ("", "view=table", "view=compare", "item=0", "item=14"):
        page = phone.at(view)
        page.wait_for_function("() => document.querySelector('.tile, dialog[open]')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.evaluate("document.querySelector('#bar').scrollWidth <= innerWidth"), view
    phone.at()
    assert not page.is_visible("#filters")
    page.click("#filter-button")
    assert page.is_visible("#filters")
    phone.is_clean()
    context.close()


def test_one_file_alone(browser: Browser, folder: Path, tmp_path: Path) -> None:
    """Carried away from its images it still shows its thumbnails, and says what they are."""
    nb.gallery(folder, out=tmp_path / "all.html", one_file=True)
    (tmp_path / "away").mkdir()
    (tmp_path / "all.html").rename(tmp_path / "away/all.html")
    context = browser.new_context()
    alone = Opened(context.new_page(), tmp_path / "away/all.html")
    page = alone.at("q=tokyo")
    page.wait_for_selector("img.thumb.there")
    assert len(ids(page)) == 4
    alone.is_clean()
    alone.at("item=0")
    page.wait_for_selector(".stage-word")
    assert "thumbnail" in page.inner_text(".stage-word")
    context.close()


def test_a_page_that_is_open_while_the_gallery_is_built_anew(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    """What it needs next is gone: it says so, and what it shows stays."""
    nb.gallery(folder, out=tmp_path / "pages")
    context = browser.new_context()
    old = Opened(context.new_page(), tmp_path / "pages/index.html")
    page = old.at()
    nb.gallery(folder, out=tmp_path / "pages", only=["completed"])
    page.fill("#search", "fox")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('built anew')")
    context.close()
