"""One server per data folder: it holds the folder's lock for as long as the database is open."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn

from nanobanana_batch.service import data_folder
from nanobanana_batch.service.app import make_app
from nanobanana_batch.service.faults import ExposedProtocol
from nanobanana_batch.service.options import ServiceError, ServiceOptions
from nanobanana_batch.serving import Server, listener

LOCK_NAME = "service.lock"
LOG_NAME = "service.log"
_LOGGERS = ("uvicorn.error", "nanobanana_batch.service")
_KEEP_ALIVE_S = 75  # longer than clients keep idle connections: a close must not cross a request
_GRACE_S = 2


def serve(options: ServiceOptions, ready: Callable[[str], None] | None = None) -> None:
    """Blocks until SIGINT or SIGTERM; `ready` is told the base URL once connections are accepted.

    Raises:
        ServiceError: the data folder or its lock, the key file or the port cannot be had.
    """
    data_folder.make(options.data_dir)
    with _locked(options), _logging(options.data_dir), _listening(options) as sock:
        options = dataclasses.replace(options, port=sock.getsockname()[1])
        config = uvicorn.Config(
            make_app(options),
            http=ExposedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = Server(config)
        if ready is not None:
            server.ready = lambda: ready(options.base_url)
        if options.until_stdin_closes:
            threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
        server.run(sockets=[sock])


def _end_with_stdin(server: Server) -> None:
    while os.read(0, 4096):
        pass
    server.should_exit = True


@contextmanager
def _locked(options: ServiceOptions) -> Iterator[None]:
    deadline = time.monotonic() + options.lock_wait_s
    lock = data_folder.open_own(options.data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= deadline:
                raise ServiceError(f"another service uses the data folder {options.data_dir}")
            time.sleep(0.05)
        yield
    finally:
        os.close(lock)


@contextmanager
def _logging(data_dir: Path) -> Iterator[None]:
    log = io.TextIOWrapper(data_folder.open_log(data_dir / LOG_NAME), "utf-8", "backslashreplace")
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
        log.close()


def _listening(options: ServiceOptions) -> socket.socket:
    try:
        return listener(options.host, options.port)
    except OSError as exc:
        raise ServiceError(f"cannot listen on {options.host} port {options.port}: {exc.strerror}") from exc
