"""Under which heading each option stands in a page of help."""

from __future__ import annotations

OTHER = "Other options"

_COMMON = {
    "Which rows": "--only --row --limit --pilot --skip --shard --procs",
    "What the manifest is": "--format --columns --id --defaults --variables --allow-outside"
    " --allow-unknown-model",
    "What to show": "--rows --show-request --out-csv --for-spreadsheets --verify --refresh --watch",
    "What to set right": "--repair --rebuild",
    "Provider and key": "--provider --base-url --key-file --callback-url --callback-listen",
    "Where it is kept": "--out --state-dir --risk-network-filesystem --as-copy",
    "Money and failures": "--max-credits --max-attempts --max-failures --on-unknown",
    "Pace and patience": "--concurrency --submit-concurrency --rate --max-outage --on-daily-quota"
    " --stuck-after",
    "What it says": "--quiet --verbose --no-progress --dry-run --json --debug --on-end --on-trouble",
}
_OWN = {
    "plan": {"What to show": "--row --pilot"},
    "check": {"What to look at": "--near --score"},
    "export": {
        "Which rows": "--where --images --noted --practice",
        "What it becomes": "--format --out --split --seed --max-size --link --bom --paths-only --push-to-hub"
        " --embed-metadata --embed-in-signed",
        "For trainers": "--convert --quality --caption --path-prefix --layout --by --ties",
    },
    "serve": {
        "Where it is": "--port --host-name --data",
        "What it makes": "--latency --seed --images",
        "What it takes": "--credits --unlimited-credits --key-file --deny-model --file-lifetime --max-files"
        " --allow-loopback-callbacks",
        "What kind of provider it is": "--idempotency --batch --list --integer-codes --link-lifetime",
        "What goes wrong on purpose": "--fault --outages",
    },
    "gallery": {
        "Which rows": "--only --where",
        "Where it is kept": "--out --one-file",
        "Rating": "--serve --port",
    },
}


def headings(command: str) -> dict[str, str]:
    """The heading of each option of a command, in the order in which headings are to stand."""
    told: dict[str, str] = {}
    own = _OWN.get(command, {})
    for table in ({} if command == "serve" else _COMMON, own):
        told |= {name: heading for heading, names in table.items() for name in names.split()}
    order = [*dict.fromkeys([*_COMMON, *own]), OTHER]
    return dict(sorted(told.items(), key=lambda item: order.index(item[1])))
