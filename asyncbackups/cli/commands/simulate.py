"""`asyncbackups simulate`: the embedded simulator, for other commands and programs."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from asyncbackups import ConfigurationError
from asyncbackups.cli.command import command
from asyncbackups.cli.exits import ExitStatus
from asyncbackups.cli.output import print_line
from asyncbackups.simulator import Lognormal, Simulator, Workload, serve

__all__ = ["simulate"]


@command
async def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any free one.")] = 0,
    speed: Annotated[float, typer.Option(help="How much faster than in reality backups run.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same backups.")] = 1,
    median: Annotated[float, typer.Option(help="How long half of the backups take at most, in seconds.")] = 131.0,
    sigma: Annotated[float, typer.Option(help="The spread of their durations; 0 makes all alike.")] = 0.4,
    failure_share: Annotated[float, typer.Option(help="Which share of the backups fails, from 0 to 1.")] = 0.0,
    history: Annotated[int, typer.Option(help="How many old backups each star system has at the start.")] = 30,
) -> ExitStatus:
    """Serve a simulated Database API on loopback until Ctrl-C; any star system and planet exists in it."""
    try:
        workload = Workload(duration=Lognormal(median, sigma), failure_share=failure_share, history=history)
        await serve(announce=_announce, port=port, speed=speed, seed=seed, workload=workload)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    except OSError as exc:
        raise ConfigurationError(f"port {port} of this machine cannot be had: {exc.strerror}") from exc
    return ExitStatus.OK


def _announce(simulator: Simulator) -> None:
    settings = {"BASE_URL": simulator.base_url, "TENANT": simulator.tenant, "TOKEN": simulator.token}
    print_line(f"# The simulator serves at {simulator.base_url} until Ctrl-C. In another terminal:")
    for name, value in settings.items():
        print_line(f"export ASYNCBACKUPS_{name}={shlex.quote(value)}")
