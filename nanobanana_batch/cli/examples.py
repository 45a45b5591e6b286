"""What each page of help ends with: a few commands that a person really types; a test parses each."""

from __future__ import annotations

from nanobanana_batch.commands import PROGRAM

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("A manifest and a Makefile to begin with, in a new folder:", "init pictures"),
        ("What it would make and cost; nothing is sent:", "plan skylines.yaml"),
        ("Placeholders, for nothing and without a key:", "run skylines.yaml --provider local"),
    ),
    "init": (
        ("In a folder of its own:", "init pictures"),
        ("Here:", "init"),
    ),
    "plan": (
        ("What would be made, what it would cost, and all that is wrong:", "plan skylines.yaml"),
        ("Exactly what would be sent for one row:", "plan skylines.yaml --show-request tokyo-ink"),
        ("All rows, to look through in a spreadsheet:", "plan skylines.yaml --out-csv rows.csv"),
    ),
    "run": (
        ("Placeholders, for nothing and without a key:", "run skylines.yaml --provider local"),
        ("A few rows first, that say what the others will cost:", "run skylines.yaml --pilot 20"),
        ("A night, of which the costs are limited:", "run skylines.yaml --max-credits 5000"),
    ),
    "status": (
        ("How many images are there, and what they have cost:", "status outputs/skylines"),
        ("The same for a program:", "status outputs/skylines --json"),
    ),
    "retry": (
        ("Pay once more for all rows that failed:", "retry outputs/skylines --only failed"),
        ("For one row that was refused:", "retry outputs/skylines --only refused --row tokyo-ink"),
    ),
    "results": (
        ("results.csv as things are now:", "results outputs/skylines"),
        ("A copy that is safe to open in a spreadsheet:", "results outputs/skylines --for-spreadsheets"),
    ),
    "export": (
        (
            "All rows as a table for a spreadsheet:",
            "export out --format csv --out rows.csv --bom",
        ),
        (
            "Only what was accepted in the gallery:",
            "export out --format parquet --out set --only accepted",
        ),
    ),
    "report": (
        ("How a night went, to open in a browser:", "report outputs/skylines"),
        ("Of several nights, on one page:", "report outputs/monday outputs/tuesday --out week.html"),
        ("Its numbers, for a program:", "report outputs/skylines --json"),
    ),
    "gallery": (
        ("A page with all images, in outputs/skylines/gallery:", "gallery outputs/skylines"),
        ("To rate them with keys, into outputs/skylines/ratings.csv:", "gallery outputs/skylines --serve"),
        ("One file to hand on, of the best:", "gallery outputs/skylines --where rating=4,5 --one-file"),
    ),
    "audit": (
        ("Is every request, credit and file explained:", "audit outputs/skylines"),
        ("Fetch what is paid for and missing; nothing is paid again:", "audit outputs/skylines --repair"),
    ),
    "merge": (
        ("All shards of a manifest as one:", "merge out/shard-1-of-2 out/shard-2-of-2"),
        ("Folders from anywhere, with one table:", "merge monday tuesday --out week"),
    ),
    "check": (
        ("Is every image whole, as asked for, and no other one again:", "check outputs/skylines"),
        ("Two runs as one, with a score of your own:", "check runs/a runs/b --score judge:aesthetic"),
    ),
    "from-image": (
        ("What a picture was asked for with:", "from-image cat.png"),
        ("Once more, with other words:", "from-image cat.png --format csv > cat.csv"),
    ),
    "doctor": (
        ("Before a real run:", "doctor"),
        ("For a folder that was worked on:", "doctor --out outputs/skylines"),
    ),
    "models": (
        ("All that are known:", "models"),
        ("Those of one provider, with its prices:", "models --provider evolink"),
    ),
    "prices": (
        ("What is known on this machine:", "prices"),
        ("Read the public price list first:", "prices --refresh"),
    ),
    "schema": (
        ("Into a file that an editor reads:", "schema > manifest.schema.json"),
        ("With the models of a profile of your own:", "schema --provider mine.yaml > mine.schema.json"),
    ),
    "serve": (
        ("An API to write a client against:", "serve --port 8080"),
        ("One that loses replies after it has charged:", "serve --fault lost_reply_after=0.02 --latency 2-9"),
    ),
    "completion": (
        ("For bash, in each terminal that is opened from now on:", "completion bash >> ~/.bashrc"),
        ("For zsh:", "completion zsh >> ~/.zshrc"),
        ("For fish:", "completion fish >> ~/.config/fish/config.fish"),
    ),
}


def examples(command: str) -> list[tuple[str, str]]:
    """What each is for, and the line to type; the empty name is the program itself."""
    return [(purpose, f"{PROGRAM} {words}") for purpose, words in EXAMPLES.get(command, ())]
