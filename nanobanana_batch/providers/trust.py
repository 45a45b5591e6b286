"""Whose certificates are believed: those that the environment names, else the list that came with us.

Several programs have taught people different variables; each is understood, for paid and free requests alike.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import certifi

from nanobanana_batch.errors import BadSurroundings

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL finds a certificate in a folder."""
_KEY_LOG = "SSLKEYLOGFILE"


@dataclass(frozen=True, slots=True)
class Authorities:
    """A file, a folder or both, and the variable that named it."""

    variable: str
    """Empty: none did."""
    file: str | None = None
    folder: str | None = None

    def __str__(self) -> str:
        places = " and ".join(filter(None, (self.file, self.folder)))
        return f"{places} ({self.variable or 'came with the program'})"


def authorities() -> Authorities:
    """What counts: SSL_CERT_FILE (with SSL_CERT_DIR, where that is of use), else SSL_CERT_DIR, else
    REQUESTS_CA_BUNDLE, else CURL_CA_BUNDLE."""
    folder = os.environ.get("SSL_CERT_DIR") or None
    if file := os.environ.get("SSL_CERT_FILE"):
        return Authorities("SSL_CERT_FILE", file, folder if _has_certificates(folder) else None)
    if folder:
        return Authorities("SSL_CERT_DIR", None, folder)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if place := os.environ.get(name):
            is_folder = Path(place).is_dir()
            return Authorities(name, None if is_folder else place, place if is_folder else None)
    return Authorities("", certifi.where())


def check_key_log() -> None:
    """Whether the keys of connections can be written down, where somebody wants to look into them.

    To be asked before aiohttp is imported, which makes a context and would end the program.

    Raises:
        BadSurroundings: the file that SSLKEYLOGFILE names cannot be written.
    """
    if path := os.environ.get(_KEY_LOG):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise BadSurroundings(
                f"{_KEY_LOG} names a file that cannot be written ({error.strerror}); nothing was sent.",
                hint="Correct it, or unset it.",
            ) from error


def tls_context() -> ssl.SSLContext:
    """What connections are checked with.

    Raises:
        BadSurroundings: what a variable names cannot be read, or holds no certificate.
    """
    return _context(authorities())


def no_tls() -> ssl.SSLContext:
    """For plain HTTP on this machine, where none is needed: it believes nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=1)
def _context(named: Authorities) -> ssl.SSLContext:
    """Made once: to read the list takes a hundred times as long as a request needs."""
    if named.folder is not None and not _has_certificates(named.folder):
        raise _unusable(named, "no folder with certificates under their hashes (see `openssl rehash`)")
    try:
        context = ssl.create_default_context(cafile=named.file, capath=named.folder)
    except OSError as error:
        raise _unusable(named, _why(error)) from error
    context.set_alpn_protocols(["http/1.1"])  # no way here speaks another
    return context


def _has_certificates(folders: str | None) -> bool:
    """Whether OpenSSL would find any in a list of folders."""
    for folder in (folders or "").split(os.pathsep):
        with suppress(OSError):
            if any(_HASHED.fullmatch(name) for name in os.listdir(folder or os.devnull)):
                return True
    return False


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "no file with PEM certificates"
    return f"a file that cannot be read ({error.strerror})"


def _unusable(named: Authorities, what: str) -> BadSurroundings:
    return BadSurroundings(
        f"{named.variable or 'The list of certificates that came with the program'} names {what};"
        " nothing was sent.",
        hint="Without trusted certificates no provider can be reached: correct it, or unset it.",
    )
