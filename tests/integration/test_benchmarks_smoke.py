"""The quick benchmarks run and write their tables; the figures are not asserted."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("benchmarks", "matplotlib", "scipy")),
    reason="requires a checkout and the dependencies of the benchmarks",
)


@pytest.mark.parametrize("name", ["import_cost", "schedules", "throughput", "memory", "fleet"])
def test_benchmark_writes_its_table(name, tmp_path, capsys):
    """Each benchmark succeeds with `--quick`, prints its table and writes it to a file."""
    status = importlib.import_module(f"benchmarks.{name}").main(["--quick", "--out", str(tmp_path)])
    assert status == 0
    assert (tmp_path / f"{name}.md").read_text() in capsys.readouterr().out
