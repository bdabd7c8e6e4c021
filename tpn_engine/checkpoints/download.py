"""Files from the web that go on where they broke off."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

from tpn_engine.checkpoints.catalog import Source
from tpn_engine.checkpoints.disk import check_room
from tpn_engine.errors import FileError, ModelError
from tpn_engine.progress import SILENT, Progress
from tpn_engine.version import __version__

LARGEST = 8 * 2**30
_BLOCK = 2**18
_LARGEST_PAGE = 2**20
_MOST_PAGES = 3
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte before a connection counts as broken, tries in a row that bring nothing, and
    seconds before the first of them (twice as many before each further one)."""

    silence: float = 20.0
    tries: int = 5
    pause: float = 1.0


def download(source: Source, folder: Path, progress: Progress = SILENT, patience: Patience = Patience()) -> Path:
    """Fetch a file into `folder`; what an earlier call left unfinished is continued.

    Size and SHA-256 are checked where the source knows them. Unfinished files are kept, for the next
    call, unless they are wrong. Raises ModelError where the server can't or won't, FileError where the
    disk won't, CancelledError.
    """
    _check_scheme(source.url)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.file
    if target.is_file():  # it gets its name when it is whole
        return target
    with _Partial(target, source) as partial:
        _fetch(partial, progress, patience)
        progress(f"check {source.file}", 0.0)
        size = partial.size
        if source.size is not None and size != source.size:
            partial.discard()
            raise ModelError(f"{source.file} has {size} bytes instead of {source.size}: it was thrown away.")
        if source.sha256 is not None and partial.sha256() != source.sha256:
            partial.discard()
            raise ModelError(f"{source.file} is not the file it should be (its SHA-256 differs): it was thrown away.")
    partial.finish()
    return target


class _BrokenError(Exception):
    """The connection ended early or never began; trying again may help."""


class _Partial:
    """The unfinished file, and beside it what must stay the same for it to be continued."""

    def __init__(self, target: Path, source: Source) -> None:
        self.target, self.source = target, source
        self.path = target.with_name(target.name + ".part")
        self.notes_path = target.with_name(target.name + ".part.json")
        self.file: IO[bytes]
        self.total: int | None = None
        self.validator: str | None = None

    def __enter__(self) -> _Partial:
        with _disk(self.path):
            self.file = self.path.open("ab")
        try:
            _lock(self.file)
        except OSError:
            self.file.close()
            raise ModelError(f"{self.source.file} is being fetched already: wait for that to end.") from None
        notes = self._read_notes()
        if notes is None:
            self.restart(None, None)
        else:
            self.total, self.validator = notes
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.file.close()

    @property
    def size(self) -> int:
        return self.file.tell()

    @property
    def complete(self) -> bool:
        return self.total is not None and self.size == self.total

    def restart(self, total: int | None, validator: str | None) -> None:
        """Forget what is there, and remember what the server says of the file now."""
        self.total, self.validator = total, validator
        notes = {"url": self.source.url, "total": total, "validator": validator}
        with _disk(self.path):
            self.file.seek(0)
            self.file.truncate()
            self.notes_path.write_text(json.dumps(notes), encoding="utf-8")

    def append(self, block: bytes) -> None:
        with _disk(self.path):
            self.file.write(block)
            self.file.flush()

    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()

    def finish(self) -> None:
        with _disk(self.path):
            os.replace(self.path, self.target)
            self.notes_path.unlink(missing_ok=True)

    def discard(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)
        self.notes_path.unlink(missing_ok=True)

    def _read_notes(self) -> tuple[int | None, str | None] | None:
        try:
            notes = json.loads(self.notes_path.read_text(encoding="utf-8"))
            total, validator = notes["total"], notes["validator"]
            fits = notes["url"] == self.source.url and isinstance(total, int) and 0 < self.size <= total
            return (total, validator if isinstance(validator, str) else None) if fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(
            f"{path} could not be written ({reason}): make room on the disk, then start again; it goes on from here."
        ) from error


def _lock(file: IO[bytes]) -> None:
    """Hold the file until it is closed, or the process ends; OSError where another process holds it."""
    if os.name == "nt":
        import msvcrt

        file.seek(2**40)  # a byte nobody wants to read: it is locked for this process too
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0, os.SEEK_END)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- the conversation with the server ------------------------------------------------------------


def _fetch(partial: _Partial, progress: Progress, patience: Patience) -> None:
    failures = 0
    while not partial.complete:
        before = partial.size
        try:
            _receive(partial, progress, patience)
        except _BrokenError as error:
            failures = failures + 1 if partial.size <= before else 0
            if failures >= patience.tries:
                raise ModelError(
                    f"{partial.source.file} could not be fetched ({error}): check the connection, then start again; "
                    "what is there already is kept."
                ) from error
            _wait(patience.pause * 2**failures if failures else 0.0, progress)


def _receive(partial: _Partial, progress: Progress, patience: Patience) -> None:
    """One answer of the server, appended to what is there; raises _BrokenError where it ends too early."""
    with _answer(partial, patience) as response:
        _begin(partial, response)
        stage = f"fetch {partial.source.file}"
        while True:
            progress(stage, partial.size / partial.total if partial.total else 0.0)
            try:
                block = response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenError(_reason(error)) from error
            if not block:
                break
            if partial.size + len(block) > (partial.total or LARGEST):
                partial.discard()
                raise ModelError(f"The server sends more than {partial.source.file} can be: it was thrown away.")
            partial.append(block)
    if partial.total is None:
        partial.total = partial.size
    if not partial.complete:
        raise _BrokenError("the connection broke off")


def _begin(partial: _Partial, response: http.client.HTTPResponse) -> None:
    """Whether the answer goes on where the file ends; if not, start the file anew."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        if match and (int(match[1]), int(match[2])) == (partial.size, partial.total):
            return
        partial.restart(None, None)
        raise _BrokenError("the file on the server has changed")
    total = int(length) if length.isdecimal() else None
    expected = partial.source.size
    if total is not None and expected is not None and total != expected:
        raise ModelError(
            f"The server has another {partial.source.file} ({total} bytes instead of {expected}): "
            f"see {partial.source.page}."
        )
    if total is not None and total > LARGEST:
        raise ModelError(f"The server's {partial.source.file} has {total} bytes, more than any model.")
    validator = headers.get("ETag")
    if validator is None or validator.startswith("W/"):
        validator = headers.get("Last-Modified")
    partial.restart(total, validator)
    if total is not None:
        check_room(partial.path.parent, total)


@contextmanager
def _answer(partial: _Partial, patience: Patience) -> Iterator[http.client.HTTPResponse]:
    """The server's answer with the file in it, past pages that ask whether one really wants it."""
    url = partial.source.url
    for _ in range(_MOST_PAGES):
        try:
            response = _OPENER.open(_request(url, partial), timeout=patience.silence)
        except urllib.error.HTTPError as error:
            error.close()
            _give_up_or_retry(partial, error)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error
        with response:
            if response.headers.get_content_type() != "text/html":
                yield response
                return
            url = _asked_again(response, partial.source)
    raise ModelError(_refused(partial.source))


def _request(url: str, partial: _Partial) -> urllib.request.Request:
    headers = {"User-Agent": f"tpn-engine/{__version__}", "Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    return urllib.request.Request(url, headers=headers)


def _give_up_or_retry(partial: _Partial, error: urllib.error.HTTPError) -> NoReturn:
    if error.code == 416 and partial.size:
        partial.restart(None, None)
        raise _BrokenError("the file on the server has changed") from error
    if error.code in _TEMPORARY:
        raise _BrokenError(f"the server answers {error.code}") from error
    raise ModelError(
        f"The server does not hand out {partial.source.file} (it answers {error.code}): get it from "
        f"{partial.source.page} with a browser, then `tpn models add` it."
    ) from error


class _Form(HTMLParser):
    """The first form on a page: where it goes, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = given.get("action")
        elif tag == "input" and given.get("type") == "hidden" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""


def _asked_again(response: http.client.HTTPResponse, source: Source) -> str:
    """Google Drive asks for confirmation before large files, which it can't scan: the address that says yes."""
    form = _Form()
    try:
        form.feed(response.read(_LARGEST_PAGE).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error
    if form.action is None or "id" not in form.fields:
        raise ModelError(_refused(source))
    url = urljoin(response.url, form.action)
    _check_scheme(url)
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(form.fields)}"


def _refused(source: Source) -> str:
    return (
        f"The server sent a web page instead of {source.file}, as it does after too many downloads: try again "
        f"tomorrow, or get it from {source.page} with a browser, then `tpn models add` it."
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _check_scheme(url: str) -> None:
    """Only encrypted, except from this machine itself; raises ModelError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise ModelError(f"{url[:100]} is not fetched: only https addresses are.")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


def _wait(seconds: float, progress: Progress) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.check()
        time.sleep(min(left, 0.1))
