"""The meaning of a response status: whether a request may be sent again, and may have been processed all the same."""

from __future__ import annotations

import enum


class Meaning(enum.Flag):
    """The meanings of a status, about the request and about the service."""

    TRANSIENT = enum.auto()  # sending the request again may help
    MAYBE_PROCESSED = enum.auto()  # the request may have been processed all the same
    NOT_PROCESSED = enum.auto()  # rejected before it was processed: even a create may be sent again
    SERVICE_FAULT = enum.auto()  # about the state of the service or the way to it, not about the request
    OVERLOAD = enum.auto()  # the service requests a lower rate
    REFUSAL = enum.auto()  # the service understood the request and refused it for good
    INFORMATIVE = enum.auto()  # reported to the subscriber of a wait, hence not counted as trouble with polling
    ENDS_WAIT = enum.auto()  # a wait cannot succeed any more


CREDENTIALS_REFUSED = Meaning.INFORMATIVE | Meaning.ENDS_WAIT
_NOT_FOUND = Meaning.INFORMATIVE | Meaning.REFUSAL
_GATEWAY_FAULT = Meaning.TRANSIENT | Meaning.MAYBE_PROCESSED | Meaning.SERVICE_FAULT

_BY_STATUS: dict[int, Meaning] = {
    400: Meaning.REFUSAL,
    401: CREDENTIALS_REFUSED,
    403: CREDENTIALS_REFUSED,
    404: _NOT_FOUND,
    405: Meaning.REFUSAL,
    408: _GATEWAY_FAULT,  # documented as "try again", as 424 and 503 are
    409: Meaning.REFUSAL | Meaning.MAYBE_PROCESSED,  # also the second one of a gateway that repeated the request
    410: _NOT_FOUND,
    422: Meaning.REFUSAL,
    424: Meaning.TRANSIENT | Meaning.SERVICE_FAULT | Meaning.MAYBE_PROCESSED,
    425: _GATEWAY_FAULT,
    429: Meaning.TRANSIENT | Meaning.NOT_PROCESSED | Meaning.SERVICE_FAULT | Meaning.OVERLOAD,
    500: Meaning.MAYBE_PROCESSED | Meaning.SERVICE_FAULT,  # not transient: documented as "contact support"
    501: Meaning(0),  # the server says that it did nothing, as with 505
    502: _GATEWAY_FAULT,
    # nginx's `limit_req` responds with 503 by default. A create rejected that way has to be reconciled, so sending at
    # full speed costs more than it gains.
    503: _GATEWAY_FAULT | Meaning.OVERLOAD,
    504: _GATEWAY_FAULT,
    505: Meaning(0),
}
_REFUSED_UNPROCESSED = frozenset({402, 406, 407, 411, 412, 413, 414, 415, 416, 417, 421, 426, 428, 431, 451})
"""Other statuses with which HTTP says that a request was rejected before it was processed."""
_OTHER_5XX = Meaning.MAYBE_PROCESSED  # a gateway's own status does not say what the service did


def meaning_of_status(status: int) -> Meaning:
    """Return the meaning of a status, also of one that HTTP does not define."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    # A status that HTTP does not define (499, 520 to 527, ...) does not show what the service did.
    return Meaning(0) if status < 400 or status in _REFUSED_UNPROCESSED else _OTHER_5XX
