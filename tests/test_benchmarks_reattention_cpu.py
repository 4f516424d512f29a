"""The benchmark of Re-attention on a CPU."""

from __future__ import annotations

from benchmarks.reattention_cpu import FORMS, SHAPES, Shape, Step, make_table, measure
from orchestrator.catalog import MAP_FREE_FROM
from orchestrator.models import reattention

TINY = Shape("tiny", 8, 1, 8, 2, 2)


def test_every_form_is_measured_and_what_is_used_is_put_back() -> None:
    times, memory = measure(TINY, num_steps=1)
    assert times.keys() == memory.keys() == FORMS.keys()
    assert times["self"] == memory["self"] == 1.0
    assert min(times.values()) > 0
    assert memory["without maps"] < memory["with maps"]
    assert reattention.MAP_FREE_FROM == MAP_FREE_FROM


def test_both_forms_train_one_model() -> None:
    kept, free = (Step(TINY, form).model.state_dict() for form in ("with maps", "without maps"))
    assert all(kept[name].equal(free[name]) for name in kept)


def test_the_table_marks_what_is_used() -> None:
    found = {form: float(place) for place, form in enumerate(FORMS)}
    rows = make_table(dict.fromkeys((SHAPES[0], TINY), (found, found))).splitlines()[2:]
    assert rows == [
        "| the demo's | 17 | 1.00 * | 2.00 | 1.00 * | 2.00 |",
        "| tiny | 65 | 1.00 | 2.00 * | 1.00 | 2.00 * |",
    ]
