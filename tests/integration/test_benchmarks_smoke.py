"""The cheap benchmarks run to their end and write their tables; what they measure is not asserted."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("benchmarks", "matplotlib", "scipy")),
    reason="needs a checkout, and what the benchmarks need",
)


@pytest.mark.parametrize("name", ["import_cost", "schedules", "throughput", "memory", "fleet"])
def test_benchmark_writes_its_table(name, tmp_path, capsys):
    """`--quick` of each ends well and leaves a table."""
    status = importlib.import_module(f"benchmarks.{name}").main(["--quick", "--out", str(tmp_path)])
    assert status == 0
    assert (tmp_path / f"{name}.md").read_text() in capsys.readouterr().out
