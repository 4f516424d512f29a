"""counting.py: the count without a visit equals the count by visiting."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hypothesis import given, settings

from orchestrator.grid import count_trials, expand_grid
from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.combinations import Combinations, holds
from orchestrator.grids.counting import Counting
from orchestrator.spec import loads_spec
from tests.grids.spec_strategies import MIXED, contents, load, read_unchecked


def count_by_visiting(combinations: Combinations) -> int:
    spec = combinations.spec
    cells = [resolve_values(spec, combination.assigned) for combination in combinations]
    return sum(not any(holds(rule, values) for rule in spec.exclude) for values in cells)


@given(contents(MIXED))
def test_counting_agrees_with_visiting(content: dict[str, Any]) -> None:
    combinations = Combinations(read_unchecked(content)[1])
    assert Counting(combinations).count() == count_by_visiting(combinations)


@settings(max_examples=40)
@given(contents())
def test_fixed_rows_partition_the_count(content: dict[str, Any]) -> None:
    combinations = Combinations(load(content))
    counting = Counting(combinations)
    for index, unit in enumerate(combinations.units):
        assert counting.count() == sum(counting.count({index: row}) for row in range(-1, unit.num_rows))


@settings(max_examples=40)
@given(contents())
def test_the_count_is_no_less_than_the_trials_there_are(content: dict[str, Any]) -> None:
    spec = load(content)
    assert count_trials(spec) >= len(expand_grid(spec).trials)


def test_equal_values_of_an_axis_count_once() -> None:
    spec = loads_spec(
        "{name: s, axes: {depth: [4, 4.0, 8]}, model: {embed_dim: 8, num_heads: 2, patch_size: 2},"
        " data: {name: digits}, train: {epochs: 1, batch_size: 8, lr: 1e-3}, seeds: 2}"
    )
    assert count_trials(spec) == 4


MILLION = """
import resource, sys
from pathlib import Path
from orchestrator.grid import count_trials
from orchestrator.spec import loads_spec
lists = {name: list(range(1, 11)) for name in ("lr", "weight_decay", "mixup", "cutmix", "depth")}
axes = ", ".join(f"{name}: {values}" for name, values in lists.items())
text = f"name: s\\naxes: {{{axes}, embed_dim: {[8 * n for n in range(1, 11)]}}}\\n"
text += "exclude: [{depth: 3, lr: 3}, {mixup: [1, 2], cutmix: 5}, {embed_dim: 8, depth: 1, lr: 1, mixup: 7}]\\n"
text += "model: {num_heads: 4, patch_size: 2}\\ndata: {name: digits}\\ntrain: {epochs: 2, batch_size: 8}\\n"
number = count_trials(loads_spec(text))
if sys.platform == "darwin":
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
else:  # there ru_maxrss starts at the peak of the process that started this one
    memory = 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(number, memory, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


def test_a_million_cells_are_counted_in_little_time_and_memory() -> None:
    """Two seconds and 200 MB are promised; time is given more here, because a busy machine is slow."""
    run = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, timeout=60, check=True)
    number, memory, seconds = run.stdout.split()
    first, second, both = 10**4, 2 * 10**4, 200  # cells of each rule, of two at once
    assert int(number) == 10**6 - first - second + both - 100
    assert int(memory) < 200e6
    assert float(seconds) < 6
