"""Capture all log output, collect all texts by which an error can be shown, and search them for secrets."""

from __future__ import annotations

import asyncio
import base64
import html
import logging
import pickle
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, quote_plus

_MAXIMUM_LENGTH = 4000
_TESTS = Path(__file__).parents[1]


def encoded_forms(secret: str) -> set[bytes]:
    """Return the forms of a secret: plain, encoded for URLs, JSON and HTML, hexadecimal, and base64 at any offset."""
    raw = secret.encode()
    forms = {raw, quote(raw, safe="").encode(), quote_plus(raw).encode(), repr(secret)[1:-1].encode()}
    forms.add(html.escape(secret).encode())
    for offset in range(3):
        # The bytes before and after the secret are unknown: search only for the characters that do not depend on them.
        encoded = base64.b64encode(b"\0" * offset + raw)
        certain = encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4]
        forms |= {certain, certain.translate(bytes.maketrans(b"+/", b"-_"))}
    forms.add(raw.hex().encode())
    return {form for form in forms if len(form) >= 8}


class LogCapture(logging.Handler):
    """Collect every log record of the process, formatted with its traceback, while entered.

    Attributes:
        texts: All log records.
        logged_errors: The errors logged by asyncio or by the library. No network fault may cause one. Errors about
            incoming connections concern the simulator and are left out.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(threadName)s %(message)s"))
        self.texts: list[str] = []
        self.logged_errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("aiohttp.server"):
            return  # the simulator's own log: a service may know the tokens of its clients
        text = f"{self.format(record)} {record.args!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(error_texts(record.exc_info[1]))
        self.texts.append(text)
        from_client = record.name.split(".")[0] in {"asyncio", "asyncbackups"} and "incoming connection" not in text
        if record.levelno >= logging.ERROR and from_client:
            self.logged_errors.append(text)

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)


def error_texts(error: BaseException) -> list[str]:
    """Return every text by which an error can be shown, including its causes and the locals of its frames.

    Frames of tests are left out: they know the secrets, and pytest keeps parts of their assertions as locals.
    """
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    _drop_test_frames(report)
    texts = [str(error), repr(error), *report.format()]
    link, followed = error, set[BaseException | None]()
    while link is not None:
        assert link not in followed, f"{error!r} is its own cause or context"
        followed.add(link)
        texts += [repr(link.args), repr(vars(link))]
        link = link.__cause__ or link.__context__
    texts.append(pickle.dumps(error).decode("latin-1"))
    return texts


def _drop_test_frames(report: traceback.TracebackException | None) -> None:
    if report is None:
        return
    kept = [frame for frame in report.stack if _TESTS not in Path(frame.filename).parents]
    report.stack = traceback.StackSummary.from_list(kept)
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        _drop_test_frames(other)


def find_secrets(secrets: Iterable[str], texts: Iterable[str | bytes]) -> list[str]:
    """Return a description of each secret found, with a part of the text around it."""
    forms = {form for secret in secrets for form in encoded_forms(secret)}
    findings = []
    for text in texts:
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        for form in forms:
            if (position := raw.find(form)) >= 0:
                context = raw[max(0, position - 200) : position + 200]
                findings.append(f"secret found: {raw[:150]!r} ... {context!r}"[:_MAXIMUM_LENGTH])
                break
    return findings


def enable_debug_mode() -> None:
    """Turn on asyncio's debug mode, and let it log every slow callback."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
