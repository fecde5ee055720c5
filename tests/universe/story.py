"""Tells what happened in a universe: its variables, every request and event in order, the truth, and the verdict."""

from .invariants import judge
from .universe import Universe, run_universe
from .variables import describe, explain_impossible, explain_unclear

_LONGEST = 150


def tell_story(seed: int, disabled: frozenset[str] = frozenset()) -> str:
    """Run a seed, and return its story."""
    universe = run_universe(seed, disabled=disabled)
    lines = [f"seed {seed}, {universe.plan}"]
    lines += [f"  {name} = {value!r}" for name, value in describe(universe.variables).items()]
    lines += [f"  impossible: {reason}" for reason in explain_impossible(universe.variables).values()]
    lines += [f"  unclear: {reason}" for reason in explain_unclear(universe.variables).values()]
    lines += [f"{time:12.3f} {text}" for time, text in sorted(_moments(universe), key=lambda moment: moment[0])]
    lines += [f"ended at {universe.ended:.3f} {universe.hang}"]
    verdict = judge(universe)
    lines += [f"  {name}: {count}" for name, count in verdict.counts.items()]
    lines += [f"VIOLATION {violation.kind}: {violation.text}" for violation in verdict.violations]
    return "\n".join(lines) + "\n"


def _moments(universe: Universe) -> list[tuple[float, str]]:
    moments = list(universe.story)
    for exchange in universe.exchanges:
        path = exchange.path.partition("/starsystems/")[2] or exchange.path
        body = exchange.body[:_LONGEST].decode(errors="replace")
        moments.append((exchange.started, f"{exchange.origin}: {exchange.method} {path}"))
        if exchange.ended >= 0.0:
            moments.append((exchange.ended, f"{exchange.origin}: {exchange.method} {path} -> {exchange.result} {body}"))
    moments += [(fault.time, f"    fault {fault.kind} for {fault.origin}") for fault in universe.gateway.faults]
    for backup in universe.service.truth:
        name = f"    truth: {backup.star_system}/{backup.planet} {backup.id}"
        moments.append((backup.created, f"{name} created by {backup.origin}, listed from {backup.list_time:.3f}"))
        if backup.created >= 0.0 and backup.ends < universe.ended:
            moments.append((backup.ends, f"{name} {'succeeds' if backup.succeeds else 'fails'}"))
        if backup.deleted < universe.ended:
            moments.append((backup.deleted, f"{name} deleted by {backup.deleted_by}"))
        if backup.vanished < universe.ended:
            moments.append((backup.vanished, f"{name} vanished"))
    for process in universe.processes:
        moments += [(time, f"{process.name}: WARNING {text}") for time, text in process.warnings]
    return moments
