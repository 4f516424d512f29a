"""ray_watch.py: a closed door is believed the second time, an open one forgives."""

from __future__ import annotations

import socket
import time

import pytest

from orchestrator.tuning import ray_watch
from orchestrator.tuning.ray_watch import Watch


@pytest.fixture
def server() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_closed_door_is_told_the_second_time(server: socket.socket) -> None:
    watch = Watch({"the raylet": server.getsockname()})
    watch.look()
    server.close()
    assert watch.lost is None
    assert watch.is_alone()
    watch.look()
    assert watch.lost is None
    watch.look()
    assert watch.lost is not None
    assert watch.lost.startswith("the raylet at 127.0.0.1:")


def test_a_door_that_opens_again_is_forgiven(server: socket.socket) -> None:
    watch = Watch({"the raylet": server.getsockname()}, misses={"the raylet": 1})
    watch.look()
    server.close()
    watch.look()
    assert watch.lost is None


def test_silence_is_believed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "knock", lambda host, port: TimeoutError("timed out"))
    watch = Watch({"the control service": ("10.0.0.1", 1)})
    looks = 0
    while watch.lost is None:
        watch.look()
        looks += 1
    assert looks == ray_watch.SILENCE_IS_BELIEVED_AT


def test_even_two_silent_doors_leave_time_to_go_within_a_quarter_of_a_minute() -> None:
    round_s = ray_watch.SECONDS_BETWEEN_KNOCKS + 2 * ray_watch.SECONDS_TO_OPEN
    assert round_s * max(ray_watch.SILENCE_IS_BELIEVED_AT, ray_watch.CLOSED_IS_BELIEVED_AT) <= 11.0


def test_the_thread_tells_what_went_away(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "SECONDS_BETWEEN_KNOCKS", 0.01)
    watch = Watch({"the raylet": server.getsockname()})
    watch.start()
    assert watch.lost is None
    server.close()
    _wait_for(lambda: watch.lost is not None)
    watch.stop()


def _wait_for(condition: object) -> None:
    ends = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.01)
