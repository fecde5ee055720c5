"""The root of the error tree, and the errors that every layer raises. All others are in `asyncbackups.errors`."""

from __future__ import annotations

from typing import Any


class BackupsError(Exception):
    """Root of every error that this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: subclasses take keyword arguments that ``args`` does not hold."""
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(cls: type[BackupsError], args: tuple[Any, ...], state: dict[str, Any]) -> BackupsError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(BackupsError, ValueError):
    """What the caller gave is wrong. Raised before anything is sent; the message says what would be right."""


class ClientClosedError(BackupsError):
    """The client was used before it was entered or after it was left."""
