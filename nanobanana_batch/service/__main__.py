"""The entry of the child process: options as JSON in its one argument, one JSON line out when ready."""

from __future__ import annotations

import json
import sys

from nanobanana_batch.service.options import ERROR, ServiceError, ServiceOptions
from nanobanana_batch.service.server import serve


def main() -> int:
    """Serves until told to end; the exit code is 0 then, and 2 where it could not start."""
    if len(sys.argv) != 2:
        print("usage: python -m nanobanana_batch.service OPTIONS_AS_JSON", file=sys.stderr)
        return 2
    try:
        serve(ServiceOptions.from_json(sys.argv[1]), _say_ready)
    except (ServiceError, OSError, ValueError, TypeError, KeyError) as exc:
        print(f"{ERROR}{exc}", file=sys.stderr)
        return 2
    return 0


def _say_ready(base_url: str) -> None:
    print(json.dumps({"base_url": base_url}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
