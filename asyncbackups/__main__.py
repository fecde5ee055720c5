"""The program `asyncbackups`, also as `python -m asyncbackups`."""

from __future__ import annotations

import sys

_EXTRA = frozenset({"click", "rich", "typer"})


def main() -> int:
    """Run the command line and return its exit status; without the extra `cli` say what to install."""
    try:
        import rich  # noqa: F401, PLC0415 - the command line imports it late
        import typer  # noqa: F401, PLC0415

        from asyncbackups import cli  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA:
            raise
        print("asyncbackups: the command line needs: pip install 'asyncbackups[cli]'", file=sys.stderr)  # noqa: T201
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
