"""The child of `SimulatorProcess`; started by hand, it prints the usage."""

import sys

from asyncbackups.simulator.process import run_child

if __name__ == "__main__":  # pragma: no branch
    sys.exit(run_child())
