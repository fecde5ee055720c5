"""What to create: the options that make a `BackupSpec`."""

from __future__ import annotations

from typing import Annotated

import typer

from asyncbackups import BackupMetadata, BackupSpec, Mechanism, PlanetClass
from asyncbackups.cli.command import Options

__all__ = ["Spec", "spec"]

_PANEL = "What to create"


def spec(
    name: Annotated[str, typer.Option(help="A name, for people.", rich_help_panel=_PANEL)] = "asyncbackups",
    description: Annotated[str, typer.Option(help="A description, for people.", rich_help_panel=_PANEL)] = "",
    mechanism: Annotated[
        str, typer.Option(help="logical, snapshot, or another one that the service knows.", rich_help_panel=_PANEL)
    ] = str(Mechanism.LOGICAL),
    planet_class: Annotated[str, typer.Option(help="The planet's class.", rich_help_panel=_PANEL)] = str(
        PlanetClass.DEV
    ),
    temporary: Annotated[
        bool,
        typer.Option(
            "--temporary/--permanent",
            help="Removed after its retention, or kept until it is deleted.",
            rich_help_panel=_PANEL,
        ),
    ] = True,
    retention_days: Annotated[
        int | None,
        typer.Option(
            help="For how long a temporary backup is kept; 10 unless given.", metavar="DAYS", rich_help_panel=_PANEL
        ),
    ] = None,
) -> BackupSpec:
    """Build the specification.

    Raises:
        ConfigurationError: If something in it is not allowed.
    """
    metadata = BackupMetadata(name, description)
    if retention_days is None:
        return BackupSpec(mechanism, planet_class, temporary=temporary, metadata=metadata)
    return BackupSpec(mechanism, planet_class, temporary, retention_days, metadata)


Spec = Annotated[BackupSpec, Options(spec)]
"""A command's parameter: the options above."""
