"""The command `create`, interrupted: it waits for the response, or reports that the outcome is unknown."""

from __future__ import annotations

import signal

from asyncbackups.simulator import Fault, Fixed, Gate, Respond, Simulator, Workload
from tests.cli_program import finish, hosted, settings_of, start


def _held(gate: Gate) -> Simulator:
    return Simulator(workload=Workload(duration=Fixed(60.0)), faults=[Fault(kind="create", gate_after=gate)])


def test_interrupt_waits_for_the_response() -> None:
    """The backup exists, so its name is printed; the status is 130, so that a chain of commands ends."""
    gate = Gate()
    with hosted(lambda: _held(gate)) as (simulator, host):
        process = start("create", "int/held", settings=settings_of(simulator))
        assert process.stderr is not None
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline()
        assert said.startswith(
            "interrupted: waiting for the response to the create (a create with a lost response is reconciled: "
        )
        assert said.endswith("; interrupt again to leave at once\n")
        host.call(gate.open)
        ended = finish(process)
        assert (ended.status, ended.out.strip()) == (130, "int/1")
        assert simulator.creates["int", "held"] == 1


def test_interrupted_create_that_fails() -> None:
    """The error is reported, and the status is that of the interrupt."""
    gate = Gate()
    refusing = Fault(Respond(403), kind="create", gate=gate)
    with hosted(lambda: Simulator(faults=[refusing])) as (simulator, host):
        process = start("create", "int/refused", settings=settings_of(simulator))
        assert process.stderr is not None
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        process.stderr.readline()
        host.call(gate.open)
        ended = finish(process)
    assert (ended.status, ended.out) == (130, "")
    assert "403" in ended.error


def test_second_interrupt_reports_that_the_backup_may_exist() -> None:
    """Leaving at once prints the command that checks, with the connection's options."""
    gate = Gate()
    with hosted(lambda: _held(gate)) as (simulator, host):
        process = start("create", "int/held", "--tenant", "example", settings=settings_of(simulator))
        assert process.stderr is not None
        host.wait(gate.arrived)
        process.send_signal(signal.SIGINT)
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ended = finish(process)
        assert ended.status == 130
        assert ended.err.splitlines() == [
            (
                "int/held: whether the backup was created is unknown; "
                "to check: asyncbackups list int/held --tenant example"
            ),
            "asyncbackups: interrupted",
        ]
