"""The root of the error tree and the errors that every layer raises. The rest is in `asyncbackups.errors`."""

from __future__ import annotations

from typing import Any


class BackupsError(Exception):
    """Base class of every error that this package raises deliberately."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the state: subclasses take keyword arguments that ``args`` does not contain."""
        return _restore_error, (type(self), self.args, self.__dict__.copy())


def _restore_error(cls: type[BackupsError], args: tuple[Any, ...], state: dict[str, Any]) -> BackupsError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(BackupsError, ValueError):
    """An argument or a setting is invalid; nothing was sent. The message is `field`, `reason`, and `hint`.

    Attributes:
        field: The name of the invalid argument, for example "base_url"; None if no single argument is wrong.
        reason: What is wrong and what is valid.
        hint: A sentence about what to change in a program; None if the reason says it all.
    """

    def __init__(self, reason: str, *, field: str | None = None, hint: str | None = None) -> None:
        message = reason if field is None else f"{field} {reason}"
        super().__init__(message if hint is None else f"{message}. {hint}")
        self.field = field
        self.reason = reason
        self.hint = hint


class ClientClosedError(BackupsError):
    """The client is not open: it was used before entering or after leaving its ``async with`` block."""
