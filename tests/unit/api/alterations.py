"""How a service may alter the texts of metadata, and still show the whole digest of a marker."""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

ALTERATIONS: dict[str, Callable[[str], str]] = {
    "unchanged": lambda text: text,
    "upper case": str.upper,
    "title case": str.title,
    "round brackets": lambda text: text.replace("[", "(").replace("]", ")"),
    "angle brackets": lambda text: text.replace("[", "<").replace("]", ">"),
    "no brackets": lambda text: text.replace("[", "").replace("]", ""),
    "HTML entities": lambda text: "".join(f"&#{ord(one)};" if not one.isalnum() else one for one in text),
    "HTML-escaped": lambda text: html.escape(f'<a title="{text}">'),
    "HTML-escaped twice": lambda text: html.escape(html.escape(f"<{text}>")),
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").lower(),
    "punctuation removed": lambda text: text.translate({ord(one): None for one in string.punctuation}),
    "punctuation as underscores": lambda text: re.sub(r"[^A-Za-z0-9]", "_", text),
    "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
    "white space removed": lambda text: "".join(text.split()),
    "white space collapsed": lambda text: " ".join(text.split()),
    "white space inside the brackets": lambda text: re.sub(r"([\[\]:])", r" \1 ", text),
    "line break before the marker": lambda text: text.replace(" [", "\r\n\t["),
    "prefix": lambda text: f"prod-eu-1:{text}",
    "suffix": lambda text: f"{text} (by jenkins)",
    "quoted": repr,
    "trimmed in front": lambda text: text[-len("[asyncbackups:0123456789abcdef]") :],
    "cut after the digest": lambda text: text.removesuffix("]"),
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "NFKD": lambda text: unicodedata.normalize("NFKD", text),
    "full width": lambda text: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text),
    "not ASCII replaced": lambda text: text.encode("ascii", "replace").decode(),
}
"""Each keeps the 16 characters of the digest together."""
