"""The command line. It uses only the public names of the package, and needs the extra `cli` (typer and rich)."""

from asyncbackups.cli.app import main

__all__ = ["main"]
