"""Work in forked processes: the same results in the same order, errors included, and none where forking is unsafe."""

import os
import signal
import threading
from collections.abc import Sequence

import pytest

from orchestrator.views import forked as module
from orchestrator.views.forked import forked, in_shares, num_useful_processes

BASE = 1000


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "num_useful_processes", lambda: 2)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_calls_give_what_a_loop_gives(num_processes: int) -> None:
    with forked(lambda number: BASE + number, num_processes=num_processes) as submit:  # which cannot be pickled
        futures = [submit(number) for number in range(20)]
        assert [future.result() for future in futures] == [BASE + number for number in range(20)]


def test_children_do_the_work_and_leave() -> None:
    with forked(os.getpid, num_processes=2) as submit:
        children = {submit().result() for _ in range(8)}
    assert os.getpid() not in children
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_of_the_work_reaches_the_caller(num_processes: int) -> None:
    def fail(name: str) -> None:
        raise ValueError(f"no {name}")

    with pytest.raises(ValueError, match="no figure"), forked(fail, num_processes=num_processes) as submit:
        submit("figure").result()


def test_an_interrupt_is_the_parents_alone() -> None:
    def interrupt_oneself() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "went on"

    with forked(interrupt_oneself, num_processes=2) as submit:
        assert submit().result() == "went on"


@pytest.mark.usefixtures("two_processors")
@pytest.mark.parametrize(("num_items", "expected"), [(0, 1), (5, 1), (9, 1), (10, 2), (101, 2)])
def test_shares_hold_every_item_once_and_in_order(num_items: int, expected: int) -> None:
    def work(share: Sequence[int]) -> list[int]:
        return list(share)

    shares = in_shares(work, range(num_items), least=5)
    assert [item for share in shares for item in share] == list(range(num_items))
    assert len(shares) == expected


def test_a_process_with_another_thread_is_not_forked() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert num_useful_processes() == 1
    finally:
        done.set()
        thread.join()


def test_elsewhere_than_on_linux_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")
    assert num_useful_processes() == 1
