"""The page: one file that asks nobody for anything, in which no text of a folder becomes a part of it."""

from __future__ import annotations

import html
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from click.testing import CliRunner

import nanobanana_batch as nb
from nanobanana_batch.api.gallery import gallery
from nanobanana_batch.cli import commands
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.jobs.report import make_report
from nanobanana_batch.reports.page import pieces
from tests.report.nights import Row, Try, bad_night, log_line, make_night, write_log

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CONTRAST = Path(__file__).parents[1] / "gallery/contrast.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = (
    "</title></style><script>document.title='stolen'</script><img src=x onerror=alert(1)>\"'&\u202eab\x1b"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a folder in which every text tries to be more than a text."""
    folder = tmp_path_factory.mktemp("report") / "<b>night & 'day'"
    rows = [
        Row(f"r{n}", f"{HOSTILE} word{n}", (Try("refused", at=n),), {f"v{HOSTILE}": f"{n % 2}{HOSTILE}"})
        for n in range(12)
    ]
    rows += [
        Row(f"f{n}", f"fox {n}", (Try("failed", n, code=HOSTILE),), {f"v{HOSTILE}": "x"}) for n in range(9)
    ]
    rows += [Row(f"s{n}", f"fox, {n}", (Try(at=n),), {f"v{HOSTILE}": "x"}, model=HOSTILE) for n in range(9)]
    make_night(folder, rows)
    write_log(
        folder,
        log_line(0, "run_begins"),
        log_line(1, "breaker_open", reason=HOSTILE),
        log_line(5, "breaker_closed"),
        log_line(9, "run_ends"),
    )
    return nb.report(folder, out=folder.parent / "report.html").page or folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all; a machine without it cannot say how a page behaves."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


def test_a_browser_shows_it_without_an_error_a_request_or_a_script(browser: Browser, hostile: Path) -> None:
    """Wide, narrow, and on paper; hostile text stays text."""
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(hostile.as_uri())
    assert page.title().startswith("Report: <b>night & 'day'")
    assert page.locator("script, img, iframe, object, link").count() == 0
    assert "<script>document.title='stolen'" in page.locator("body").inner_text()
    assert page.locator("svg:visible").count() > 4
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".narrow svg:visible").count() == 4
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
    assert said == []
    assert asked == [hostile.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    """As WCAG AA has it, also on the darkest cell of what is refused."""
    made = nb.report(bad_night(tmp_path / "night"), out=tmp_path / "r.html").page
    assert made
    page = browser.new_page(color_scheme=scheme)
    page.goto(made.as_uri())
    assert page.locator("td.h5").count()
    assert page.evaluate(CONTRAST.read_text("utf-8")) == []
    assert "4 reserved besides" in page.inner_text("header")
    page.close()


def test_every_chart_has_a_title_and_a_table(hostile: Path) -> None:
    """Who cannot see a chart is told what it is, and reads its numbers."""
    text = hostile.read_text(encoding="utf-8")
    charts = re.findall(r'<svg viewBox="[^"]*" role="img" aria-label="[^"]+"><title>[^<]+</title>', text)
    assert len(charts) == 8
    for figure in text.split("<figure>")[1:]:
        assert "<table" in figure.partition("</section>")[0]


def test_nothing_of_a_style_stands_in_an_attribute(hostile: Path) -> None:
    """The policy would forbid it, and the console would say so."""
    text = hostile.read_text(encoding="utf-8")
    assert re.search(r"<[^>]* style=", text) is None
    assert "default-src 'none'; style-src 'sha256-" in text


def test_the_page_says_what_the_numbers_are(tmp_path: Path) -> None:
    """Outages, refusals, retries and what is owed each have their section; times have a zone."""
    text = "".join(pieces(make_report([bad_night(tmp_path / "night")])))
    for said in (
        "11 of 55 rows that were made or refused",
        "1 row had more than one request: 2 further ones, of which 1 made an image",
        "paid, and its links died before it was fetched",
        "given up by you, paid",
        "HTTP 503: &lt;img src=x onerror=alert(1)&gt;",
        "Times are of this machine&#x27;s clock, UTC",
    ):
        assert said in text


def test_a_run_that_is_going_on_is_told_as_that(tmp_path: Path) -> None:
    """What it has in flight is not called lost; its log has no end yet."""
    folder = make_night(tmp_path / "a", [Row("r"), Row("s", "a cat", (Try("accepted"),))])
    write_log(folder, log_line(0, "run_begins"), log_line(20, "breaker_open", reason="HTTP 503"))
    assert "A run is going on" not in "".join(pieces(make_report([folder])))
    with only_writer(folder):
        report = make_report([folder])
    assert report.is_running
    assert [one.is_whole for one in report.periods] == [False, False]
    assert "A run is going on" in "".join(pieces(report))


def test_what_is_owed_is_explained_by_the_command_that_the_page_names(tmp_path: Path) -> None:
    """It can be pasted as it stands, whatever the folder is called."""
    folder = bad_night(tmp_path / "a night's work")
    text = "".join(pieces(make_report([folder])))
    (command,) = re.findall(r"<code>([^<]*)</code>", text)
    words = shlex.split(html.unescape(command))
    done = CliRunner().invoke(commands, words[1:], catch_exceptions=False)
    assert words[0] == "nanobanana-batch"
    assert "never" in done.output
    assert "silent" in done.output


def test_a_folder_in_which_nothing_has_happened_has_a_page(tmp_path: Path) -> None:
    """It says so, section by section, and draws nothing."""
    text = "".join(pieces(make_report([make_night(tmp_path / "empty", [])])))
    assert "There are no rows." in text
    assert "No image has been saved yet." in text
    assert "<figure>" not in text


def test_the_command_writes_the_page_into_the_folder_and_says_where(tmp_path: Path) -> None:
    """For several folders it has to be told; --json prints numbers, and writes nothing."""
    one, other = make_night(tmp_path / "a", [Row("r")]), make_night(tmp_path / "b", [Row("r")])
    runner = CliRunner()

    def said(*words: str) -> str:
        return runner.invoke(commands, ["report", *words], catch_exceptions=False).output

    assert said(str(one), "--json").startswith("{")
    assert not (one / "report.html").exists()
    assert said(str(one)).strip() == str(one / "report.html")
    with pytest.raises(nb.UsageError, match="belongs to none of them"):
        runner.invoke(commands, ["report", str(one), str(other)], catch_exceptions=False)
    week = tmp_path / "week.html"
    assert said(str(one), str(other), "--out", str(week)).strip() == str(week)
    assert "a, b" in week.read_text(encoding="utf-8")


def test_a_page_is_written_over_no_folder_and_through_no_link(tmp_path: Path) -> None:
    """Whoever made the folder does not choose which file is lost."""
    folder, mine = make_night(tmp_path / "a", [Row("r")]), tmp_path / "mine.txt"
    mine.write_text("precious")
    (folder / "report.html").symlink_to(mine)
    with pytest.raises(nb.FolderRefused, match="link"):
        nb.report(folder, page=True)
    assert mine.read_text() == "precious"
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    with pytest.raises(nb.NanobananaError, match="folder"):
        nb.report(folder, page=True)


def test_a_gallery_has_the_report_beside_it(tmp_path: Path) -> None:
    """Each leads to the other; one file for handing on has none."""
    folder = make_night(tmp_path / "a", [Row("r")])
    made = gallery(folder)
    report = made.path.with_name("report.html")
    assert '<a href="index.html">' in report.read_text(encoding="utf-8")
    assert "report.html" in (made.path.parent / "page" / "head.js").read_text(encoding="utf-8")
    gallery(folder, one_file=True)
    assert not (folder / "report.html").exists()
