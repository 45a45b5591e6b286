"""An nginx that serves one folder on a free port of this machine, for as long as a benchmark needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ANSWERS_WITHIN_S = 30.0
_CONFIG = """
{user}
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  types {{ image/png png; }}
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; }}
}}
"""


def program() -> str | None:
    """Where it is installed; None: it is not."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def serving(folder: Path, cpu: int | None = None) -> Iterator[str]:
    """Its base URL; on a core of its own if one is named (`taskset`).

    Raises:
        SystemExit: there is no nginx here, or it does not begin to answer.
    """
    if (nginx := program()) is None:
        raise SystemExit("there is no nginx here")
    with tempfile.TemporaryDirectory() as name:
        place, port = Path(name), _free_port()
        (place / "nginx.conf").write_text(_config(place, port, folder))
        pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
        words = [nginx, "-e", str(place / "error.log"), "-p", name, "-c", str(place / "nginx.conf")]
        with subprocess.Popen([*pinned, *words]) as process:
            try:
                _until_it_answers(process, port)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _config(place: Path, port: int, folder: Path) -> str:
    """Its worker is this user too (of root it would be somebody who may not read the folder)."""
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    return _CONFIG.format(place=place, port=port, folder=folder, user=user)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def _until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _ANSWERS_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.02)
    raise SystemExit("nginx does not answer")
