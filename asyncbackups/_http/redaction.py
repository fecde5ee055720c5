"""Secrets: kept where no repr shows them, and taken out of what others send back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote, quote_plus

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from asyncbackups._http.messages import Response

MARK = "[redacted]"

# Shorter ones would punch holes into every text, and hide nothing.
_SHORTEST = 4
# Of an answer that is an error, only the beginning is ever shown.
_ERROR_BODY = 64 * 1024


class Secret:
    """A text that no repr, no format string and no pickle gives away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: read it again where it is needed")


class Redactor:
    """Replaces secrets in texts, in the forms in which a server or a gateway echoes them.

    Args:
        secrets: What must not be shown.
    """

    __slots__ = ("_forms",)

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: a form may be the beginning of another one.
        self._forms = sorted(forms, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._forms)} forms>"

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form in self._forms:
            text = text.replace(form, MARK)
        return text

    def body(self, body: bytes) -> bytes:
        """Return a body without the secrets."""
        for form in self._forms:
            body = body.replace(form.encode("utf-8", "surrogatepass"), MARK.encode())
        return body

    def response(self, response: Response) -> Response:
        """Return an answer without the secrets, of which only the beginning is kept where it is an error.

        Headers that came several times are joined with ", ".
        """
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in response.headers.items():
            shown = self.text(value)
            headers[name] = f"{headers[name]}, {shown}" if name in headers else shown
        body = response.body if 200 <= response.status < 300 else response.body[:_ERROR_BODY]
        return msgspec.structs.replace(response, headers=CIMultiDictProxy(headers), body=self.body(body))


_AS_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""As `html.escape` does it, whose import would cost more than all the rest of this module."""


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    encoded = base64.b64encode(raw).decode()
    return {
        secret,
        quote(raw, safe=""),
        quote(raw, safe="/"),
        quote_plus(raw),
        secret.translate(_AS_HTML),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        encoded,
        encoded.rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }
