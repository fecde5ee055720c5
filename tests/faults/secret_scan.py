"""Listens to everything that is logged, takes everything that can be shown, and looks for secrets in it."""

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

_SHOWN = 4000
_TESTS = Path(__file__).parents[1]


def encoded_forms(secret: str) -> set[bytes]:
    """Return how a secret may look in a text: as it is, encoded for URLs, JSON, HTML and base64 at any offset."""
    raw = secret.encode()
    forms = {raw, quote(raw, safe="").encode(), quote_plus(raw).encode(), repr(secret)[1:-1].encode()}
    forms.add(html.escape(secret).encode())
    for offset in range(3):
        # Of base64, what lies before and after is unknown: only the part that the secret alone decides is looked for.
        encoded = base64.b64encode(b"\0" * offset + raw)
        certain = encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4]
        forms |= {certain, certain.translate(bytes.maketrans(b"+/", b"-_"))}
    forms.add(raw.hex().encode())
    return {form for form in forms if len(form) >= 8}


class LogCapture(logging.Handler):
    """Collects every log record of the process, formatted with its traceback, while entered.

    Attributes:
        texts: What was logged.
        alarms: What was logged as an error by asyncio or by the library: nothing may be, whatever the network does. (Of
            incoming connections asyncio's debug mode tells the simulator.)
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(threadName)s %(message)s"))
        self.texts: list[str] = []
        self.logged_errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("aiohttp.server"):
            return  # the simulator's own log: a service may know its callers' tokens
        text = f"{self.format(record)} {record.args!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(error_texts(record.exc_info[1]))
        self.texts.append(text)
        ours = record.name.split(".")[0] in {"asyncio", "asyncbackups"} and "incoming connection" not in text
        if record.levelno >= logging.ERROR and ours:
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
    """Return every text by which an error may be shown, its causes and the locals of its frames included.

    Frames of the tests are left out: they know the secrets, and pytest keeps parts of their assertions as locals.
    """
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    _drop_test_frames(shown)
    texts = [str(error), repr(error), *shown.format()]
    link: BaseException | None = error
    while link is not None:
        texts += [repr(link.args), repr(vars(link))]
        link = link.__cause__ or link.__context__
    texts.append(pickle.dumps(error).decode("latin-1"))
    return texts


def _drop_test_frames(shown: traceback.TracebackException | None) -> None:
    if shown is None:
        return
    kept = [frame for frame in shown.stack if _TESTS not in Path(frame.filename).parents]
    shown.stack = traceback.StackSummary.from_list(kept)
    for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        _drop_test_frames(other)


def find_secrets(secrets: Iterable[str], texts: Iterable[str | bytes]) -> list[str]:
    """Return where secrets were found; the texts are shortened, and shown because they are tests' secrets."""
    forms = {form for secret in secrets for form in encoded_forms(secret)}
    hits = []
    for text in texts:
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        for form in forms:
            if (place := raw.find(form)) >= 0:
                context = raw[max(0, place - 200) : place + 200]
                hits.append(f"a secret is shown: {raw[:150]!r} ... {context!r}"[:_SHOWN])
                break
    return hits


def enable_debug_mode() -> None:
    """Let asyncio tell everything it can."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
