"""ratings.csv, preferences.csv and checks.csv are read as people have them, and written without loss."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobanana_batch.collection.judgements import (
    COLUMNS,
    Judged,
    Judgement,
    Verdict,
    read_judged,
    read_judgements,
    save_judged,
)
from nanobanana_batch.collection.measures import read_measures
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.preferences import Better, Choice, read_choices, save_choices
from nanobanana_batch.errors import DiskFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.spreadsheets import guarded, harmless, unguarded

KEY, OTHER_KEY = "v1-" + "a" * 64, "v1-" + "b" * 64
SHA, OTHER_SHA = "c" * 64, "d" * 64
GOOD = Judgement(5, Verdict.ACCEPTED, "fine")
ALL_NAMES = f"cat,images/cat.png,5,accepted,fine,{KEY},{SHA}\n"


def one(judgement: Judgement = GOOD, *, id_: str = "cat", key: str = KEY, sha: str = SHA) -> Judged:
    """What a page hands over."""
    return Judged(id_, f"images/{id_}.png", key, sha, judgement)


def put(folder: Path, text: str | bytes, name: str = "ratings.csv") -> Path:
    """Write such a file as it stands."""
    data = text.encode() if isinstance(text, str) else text
    folder.joinpath(name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        ",".join(COLUMNS) + "\n" + ALL_NAMES,
        "\ufeff" + ",".join(COLUMNS) + "\r\n" + ALL_NAMES.replace("\n", "\r\n"),
        ("\ufeff" + ",".join(COLUMNS) + "\r\n" + ALL_NAMES.replace("\n", "\r\n")).replace(",", ";"),
        (",".join(COLUMNS) + "\n" + ALL_NAMES).replace(",", "\t"),
        (",".join(COLUMNS) + "\r" + ALL_NAMES).replace("\n", "\r"),
        f'"Rating ","my own","VERDICT",rating_note,sha256,row_key\n5.0,x,Accepted,fine,{SHA},{KEY}\n\n,,\n',
        "id,rating,verdict,rating_note\ncat,5,accepted,fine\n",
        "image,rating,verdict,rating_note\n.\\images\\cat.png,5,accepted,fine\n",
        f"sha256,id,rating,verdict,rating_note\n{SHA},,5,accepted,fine\n",
        f"row_key,rating,verdict,rating_note\n{KEY},5,accepted,fine\n",
        f"id,image,rating,verdict,rating_note,sha256\ncat,images/cat.png,5,accepted,fine,{SHA}\n",
        "id,rating,verdict,rating_note\ncat,1,rejected,\ncat,5,accepted,fine\ncat,,,\n",
        "id,rating,verdict,rating_note\nCAT,1\ncat,5,accepted,fine",
    ],
    ids=[
        *("ours", "excel", "semicolons", "tabs", "old mac", "other columns", "by id", "by image"),
        *("by content", "by row", "without row key", "twice", "a short line"),
    ],
)
def test_a_file_is_read_as_it_was_meant(tmp_path: Path, text: str) -> None:
    """Whatever a person opened it with."""
    said = read_judgements(put(tmp_path, text))
    assert said.of(KEY, SHA, "cat", "images/cat.png") == GOOD
    assert said.of(OTHER_KEY, OTHER_SHA, "dog", "images/dog.png") is None


def test_an_id_means_the_first_picture_of_its_row_only(tmp_path: Path) -> None:
    """Of a row with several a person has to say which."""
    said = read_judgements(put(tmp_path, "id,rating\ncat,5\n"))
    assert said.of(KEY, OTHER_SHA, "cat", "images/cat~2.png", is_first=False) is None


def test_a_row_that_was_renamed_keeps_what_was_said(tmp_path: Path) -> None:
    """Its key and its picture are the same."""
    said = read_judgements(put(tmp_path, ",".join(COLUMNS) + "\n" + ALL_NAMES))
    assert said.of(KEY, SHA, "kitten", "images/kitten.png") == GOOD
    save_judged(tmp_path, [one(Judgement(1), id_="kitten")], Disk())
    assert [each.id for each in read_judged(tmp_path)] == ["kitten"]


def test_another_picture_of_the_row_was_not_judged(tmp_path: Path) -> None:
    """It was paid for again, and nobody has seen it."""
    said = read_judgements(put(tmp_path, ",".join(COLUMNS) + "\n" + ALL_NAMES))
    assert said.of(KEY, OTHER_SHA, "cat", "images/cat.png") is None
    assert said.of(OTHER_KEY, SHA, "cat", "images/cat.png") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,rating\na,5\nb,6\n", "ratings.csv:3: rating is '6'"),
        ('id,rating_note,rating\na,"two\nlines",5\nb,,good\n', "ratings.csv:4: rating is 'good'"),
        ("id,verdict\na,maybe\n", "ratings.csv:2: verdict is 'maybe'"),
        ("id,rating,rating_note\na,5,nice, very nice\n", "ratings.csv:2: there are more cells"),
        ('id,rating,rating_note\na,5,x\nb,5,"open\nc,5,x\n', "ratings.csv:3: .*a quote that nothing ends"),
        ("id,rating\n,5\n", "ratings.csv:2: it names no picture"),
        ("cat,5\n", "ratings.csv:1: the first line has to name the columns"),
        (b"id,rating_note\na,\xe9t\xe9\n", "ratings.csv is not UTF-8"),
        ("id,rating\n".encode("utf-16"), "ratings.csv is not UTF-8"),
    ],
    ids=["stars", "line", "verdict", "comma", "quote", "nobody", "no header", "latin", "utf-16"],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    """And the file stays as it is, whoever wants to write to it."""
    folder = put(tmp_path, text)
    before = folder.joinpath("ratings.csv").read_bytes()
    with pytest.raises(UsageError, match=told):
        read_judgements(folder)
    with pytest.raises(UsageError, match=told):
        save_judged(folder, [one()], Disk())
    assert folder.joinpath("ratings.csv").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["ratings.csv"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither to read it nor to write through it."""
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere.csv"
    folder.mkdir()
    elsewhere.write_text("id,rating\na,5\n")
    folder.joinpath("ratings.csv").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="symbolic link"):
        read_judgements(folder)
    with pytest.raises(UsageError, match="symbolic link"):
        save_judged(folder, [one()], Disk())
    assert elsewhere.read_text() == "id,rating\na,5\n"


def test_a_pipe_does_not_hold_anybody_up(tmp_path: Path) -> None:
    """It is no file."""
    os.mkfifo(tmp_path / "checks.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_measures(tmp_path)


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    """Whole, by another program, and by Excel, which knows UTF-8 by its mark."""
    note = 'she said "no", twice\r\nЁ 東京 \U0001f3ef; =cmd|x\rlone'
    save_judged(tmp_path, [one(Judgement(None, None, note)), one(GOOD, id_="-dog", sha=OTHER_SHA)], Disk())
    assert [each.judgement for each in read_judged(tmp_path)] == [Judgement(None, None, note), GOOD]
    text = tmp_path.joinpath("ratings.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufeffid,image,rating,verdict,rating_note,row_key,sha256\n")
    assert "; '=cmd" not in text  # the blank stands behind the apostrophe
    assert ";' =cmd" in text
    assert "\n'-dog,images/-dog.png,5,accepted,fine," in text


def test_what_a_person_added_stays(tmp_path: Path) -> None:
    """Columns, the order of columns and lines, the separator, and judgements of other pictures."""
    put(tmp_path, f"mine;rating;id\n=1+1;3;cat\nx;2;dog\n;;later\n;4;cat\n;1;{KEY}\n")
    news = [one(), one(GOOD, id_="bird", key=OTHER_KEY, sha=OTHER_SHA)]
    save_judged(tmp_path, news, Disk())
    assert tmp_path.joinpath("ratings.csv").read_bytes().decode("utf-8-sig").splitlines() == [
        "mine;rating;id;image;verdict;rating_note;row_key;sha256",
        f"=1+1;5;cat;images/cat.png;accepted;fine;{KEY};{SHA}",
        "x;2;dog",
        ";;later",
        f";5;cat;images/cat.png;accepted;fine;{KEY};{SHA}",
        f";1;{KEY}",
        f";5;bird;images/bird.png;accepted;fine;{OTHER_KEY};{OTHER_SHA}",
    ]


def test_what_is_taken_back_is_gone(tmp_path: Path) -> None:
    """With its line, unless a person has written something else there."""
    put(tmp_path, "mine,rating,id\nx,3,cat\n,4,cat\n,2,dog\n")
    save_judged(tmp_path, [one(Judgement())], Disk())
    assert read_judgements(tmp_path).of(KEY, SHA, "cat", "images/cat.png") is None
    assert read_judgements(tmp_path).of("", "", "dog") == Judgement(2)
    assert "x,,cat,images/cat.png" in tmp_path.joinpath("ratings.csv").read_text("utf-8")
    assert len(tmp_path.joinpath("ratings.csv").read_text("utf-8").splitlines()) == 3


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    """And is begun anew."""
    assert read_judgements(put(tmp_path, "")).of(KEY, SHA) is None
    save_judged(tmp_path, [one()], Disk())
    assert read_judgements(tmp_path).of(KEY, SHA) == GOOD


def test_nothing_said_makes_no_file(tmp_path: Path) -> None:
    """A page that was only looked at leaves no trace."""
    save_judged(tmp_path, [one(Judgement())], Disk())
    assert list(tmp_path.iterdir()) == []


class FullDisk(Disk):
    """Takes nothing."""

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """As a full one says it."""
        raise OSError(28, "No space left on device")


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """The old file is whole."""
    save_judged(tmp_path, [one()], Disk())
    before = tmp_path.joinpath("ratings.csv").read_bytes()
    with pytest.raises(DiskFailed):
        save_judged(tmp_path, [one(Judgement(1))], FullDisk())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"ratings.csv": before}


def test_many_lines_are_read_and_changed(tmp_path: Path) -> None:
    """Each by its content."""
    with tmp_path.joinpath("ratings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(
            (f"r{n}", f"images/r{n}.png", 1 + n % 5, "", "", f"k{n}", f"{n:064x}") for n in range(20_000)
        )
    said = read_judgements(tmp_path)
    assert said.of("k19999", f"{19_999:064x}") == Judgement(5)
    save_judged(tmp_path, [Judged("r7", "images/r7.png", "k7", f"{7:064x}", Judgement(4))], Disk())
    assert read_judgements(tmp_path).of("k7", f"{7:064x}") == Judgement(4)


TEXTS = st.text(st.sampled_from("='\t\r\n;, \"-+@a1.\u3000\ufeff\U0001f3ef"), max_size=12) | st.text(
    max_size=12
)


@given(TEXTS)
def test_a_guarded_text_is_no_formula_and_comes_back(text: str) -> None:
    """Whatever stands in it, apostrophes in front included."""
    assert unguarded(guarded(text)) == text
    assert harmless(guarded(text)) == guarded(text)


def test_what_a_person_wrote_into_a_cell_is_taken_as_it_is() -> None:
    """A spreadsheet saves a text that begins with `=` without the apostrophe that made it one."""
    assert unguarded("=1") == "=1"
    assert unguarded("'tis") == "'tis"


def choice(better: Better | None, first: str = "a", second: str = "b", prompt: str = "a cat") -> Choice:
    """Of two pictures by their names."""
    return Choice(
        prompt,
        Named(first, f"images/{first}.png", f"v1-{first}", first * 64),
        Named(second, f"images/{second}.png", f"v1-{second}", second * 64),
        better,
    )


def test_choices_are_kept_in_an_order_of_their_own(tmp_path: Path) -> None:
    """Two people who choose the same in another order have the same file."""
    one_folder, other = tmp_path / "one", tmp_path / "other"
    one_folder.mkdir()
    other.mkdir()
    made = [choice(Better.FIRST), choice(Better.TIE, "c", "d"), choice(Better.SKIP, "a", "c", "=x")]
    save_choices(one_folder, made, Disk())
    for each in reversed(made):
        save_choices(other, [each], Disk())
    assert (
        one_folder.joinpath("preferences.csv").read_bytes() == other.joinpath("preferences.csv").read_bytes()
    )
    assert read_choices(other) == [made[2], made[0], made[1]]


def test_the_last_word_on_a_pair_counts(tmp_path: Path) -> None:
    """Whichever of the two was shown first."""
    save_choices(tmp_path, [choice(Better.FIRST)], Disk())
    save_choices(tmp_path, [choice(Better.FIRST, "b", "a")], Disk())
    (found,) = read_choices(tmp_path)
    assert found.chosen == choice(None).second
    assert found.rejected == choice(None).first
    save_choices(tmp_path, [choice(None)], Disk())
    assert read_choices(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("better,first_id,second_id\nboth,a,b\n", "preferences.csv:2: better is 'both'"),
        ("better,first_id,second_id\nfirst,a,\n", "preferences.csv:2: it names no two pictures"),
        ("better,first_id,second_id\nfirst,a,a\n", "preferences.csv:2: it names one picture twice"),
        ("winner,first_id\nfirst,a\n", "none is called better"),
    ],
)
def test_a_choice_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    """With its line."""
    with pytest.raises(UsageError, match=told):
        read_choices(put(tmp_path, text, "preferences.csv"))


def test_checks_are_found_by_content_or_by_what_is_left_of_a_line(tmp_path: Path) -> None:
    """Columns of people are theirs, and a name is no measure."""
    put(tmp_path, f"id;is_blank;sha256;row_key\ncat;1;{SHA};{KEY}\ndog;0;;\n", "checks.csv")
    measures = read_measures(tmp_path)
    assert measures.columns == ("is_blank",)
    assert measures.of(SHA) == {"is_blank": "1"}
    assert measures.of(OTHER_SHA, "", "dog", "images/dog.png") == {"is_blank": "0"}
    assert measures.of(OTHER_SHA) == {}
