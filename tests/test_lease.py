"""Claims: one owner, dead owners taken over, live ones never, and the displaced find out before they write."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from orchestrator import claims, durable, lease
from orchestrator.errors import LockedError, ResultsError, SupersededError
from orchestrator.processes import this_machine
from orchestrator.record import Run
from tests.s3_server import new_root, s3_server

MAKE = partial(Run, command="orch run", executor="serial")
HOLDER = """\
import sys, time
from functools import partial
from orchestrator import lease
from orchestrator.places import results_root
from orchestrator.record import Run
with lease.hold(results_root(sys.argv[1]), "sweep 's'", Run, partial(Run, command="", executor="serial")):
    print("held", flush=True)
    time.sleep(60)
"""
STARTER = HOLDER.replace("time.sleep(60)", "sys.stdin.read()")


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture(params=["file system", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "file system":
        return tmp_path / "runs"
    request.getfixturevalue("store")
    return new_root() / "runs"


def hold(folder: Path):
    return lease.hold(folder, "sweep 's'", Run, MAKE)


def write_foreign(folder: Path, number: int = 1, lease_s: float = 0.3, beat: int = 0) -> Path:
    """A claim of a process on another machine."""
    claim = MAKE(
        number=number, host="far", process=7, started_at="2020-01-01T00:00:00+00:00", machine="0" * 8, lease_s=lease_s,
        beat=beat,
    )  # fmt: skip
    path = claims.claim_file(folder, number)
    durable.write_sealed_json(path, dataclasses.asdict(claim))
    return path


def test_a_held_folder_names_its_owner_and_is_free_again_afterwards(folder: Path) -> None:
    with hold(folder) as first:
        assert first.claim.number == 1
        with (
            pytest.raises(LockedError, match=r"sweep 's' is held by another run \(process \d+ on .*number 1"),
            hold(folder),
        ):
            pass
    with hold(folder) as second:
        assert second.claim.number == 2
    found = [claims.parse_claim(durable.read_sealed_json(claims.claim_file(folder, n)), Run) for n in (1, 2)]
    assert [claim.outcome for claim in found] == ["ENDED", "ENDED"]
    assert all(claim.ended_at for claim in found)


def test_an_error_inside_ends_the_claim_and_stands_in_it_without_secrets(folder: Path) -> None:
    with pytest.raises(ValueError, match="token"), hold(folder):
        raise ValueError("token=hunter2")
    claim = claims.newest(folder, Run)
    assert claim is not None
    assert claim.outcome == "FAIL"
    assert "hunter2" not in (claim.error or "")


def test_of_many_at_once_one_gets_it(folder: Path) -> None:
    gate, got = threading.Barrier(8), []

    def start() -> None:
        gate.wait()
        made = lease.create(folder, 1, "x", MAKE)
        if made is not None:
            got.append(made)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].end("ENDED")
    assert [path.name for path in folder.iterdir()] == ["1.json"]


@pytest.mark.slow
def test_of_twenty_processes_one_runs_and_the_rest_name_it(folder: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(20)
    ]  # fmt: skip
    refused, holding = [], []
    for process in started:
        assert process.stdout is not None
        (holding if process.stdout.readline() == "held\n" else refused).append(process)
    assert len(holding) == 1
    assert holding[0].poll() is None
    for process in refused:
        _, told = process.communicate()
        assert f"LockedError: sweep 's' is held by another run (process {holding[0].pid} on" in told
    assert holding[0].communicate("")[1] == ""
    assert holding[0].returncode == 0


def test_a_killed_owner_on_this_machine_is_taken_over_at_once(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {process.pid}"), hold(folder):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with hold(folder) as mine:
        assert mine.claim.number == 2


def test_a_dead_owner_elsewhere_is_taken_over_after_its_lease_whatever_its_clock_says(folder: Path) -> None:
    path = write_foreign(folder)
    content = {**durable.read_sealed_json(path), "beat_at": "2999-01-01T00:00:00+00:00"}
    durable.write_sealed_json(path, content)
    began = time.monotonic()
    with hold(folder) as mine:
        assert mine.claim.number == 2
    assert time.monotonic() - began > lease.LEASES_TO_WAIT * 0.3


def test_a_live_owner_elsewhere_is_never_taken_over(folder: Path) -> None:
    write_foreign(folder, lease_s=60.0)
    beat = threading.Timer(0.5, write_foreign, args=(folder, 1, 60.0, 1))
    beat.start()
    with pytest.raises(LockedError, match="process 7 on far"), hold(folder):
        pass
    beat.join()


def test_a_damaged_claim_is_watched_and_never_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_foreign(folder)
    durable.write_bytes(path, path.read_bytes()[:-30])
    monkeypatch.setattr(lease.Claim, "lease_s", 0.3)
    told: list[str] = []
    with lease.hold(folder, "s", Run, MAKE, told.append) as mine:
        assert mine.claim.number == 2
    assert "is damaged" in told[0]


def test_whoever_was_displaced_finds_out_before_it_writes(folder: Path) -> None:
    with hold(folder) as mine:
        mine.check()
        write_foreign(folder, 2)
        for write in (mine.check, lambda: mine.update(error="x")):
            with pytest.raises(SupersededError, match="taken over by number 2"):
                write()
    claim = claims.parse_claim(durable.read_sealed_json(claims.claim_file(folder, 1)), Run)
    assert claim.ended_at is None, "nor does it write into its own claim any more"


def test_the_owner_shows_that_it_lives(folder: Path) -> None:
    made = lease.create(folder, 1, "x", partial(MAKE, lease_s=0.3))
    assert made is not None
    watch = lease.Watch()
    foreign = dataclasses.replace(made.claim, machine="elsewhere")
    deadline = time.monotonic() + 30
    while watch.sees_life(foreign, claims.claim_file(folder, 1).read_bytes()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert watch.sees_life(foreign, b"changed") is True
    assert claims.newest(folder, Run).beat > 0
    made.end("ENDED")


def test_a_claim_may_be_taken_from_whom_the_caller_says(folder: Path) -> None:
    with hold(folder):
        number = lease.wait_until_free(folder, Run, "s", wait=False, may_take=lambda claim: claim.command == "orch run")
        assert number == 1


def test_waiting_ends_with_the_owner_or_with_whoever_is_asked(folder: Path) -> None:
    made = lease.create(folder, 1, "x", MAKE)
    assert made is not None

    class EnoughError(Exception):
        pass

    def enough(owner: str) -> None:
        raise EnoughError(owner)

    with pytest.raises(EnoughError, match="number 1"):
        lease.wait_until_free(folder, Run, "s", wait=True, on_wait=enough)
    threading.Timer(0.3, made.end, args=("ENDED",)).start()
    assert lease.wait_until_free(folder, Run, "s", wait=True) == 1


def test_a_claim_whose_end_cannot_be_written_is_free_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path, content: object) -> None:
        raise ResultsError(f"cannot write {path}: No space left on device")

    made = lease.create(tmp_path, 1, "x", MAKE)
    assert made is not None
    with monkeypatch.context() as full:
        full.setattr(durable, "write_sealed_json", no_space)
        with pytest.raises(ResultsError):
            made.end("ENDED")
    with hold(tmp_path) as mine:
        assert mine.claim.number == 2


def test_a_worker_sees_that_its_run_is_over(folder: Path) -> None:
    with hold(folder) as run:
        assert not lease.RunWatch(folder, run.claim.number).is_over()
    assert lease.RunWatch(folder, 1).is_over(), "it ended"
    assert lease.RunWatch(folder, 9).is_over(), "it was removed"
    write_foreign(folder, 3, lease_s=0.2)
    watch = lease.RunWatch(folder, 3)
    assert not watch.is_over()
    time.sleep(0.5)
    assert watch.is_over(), "its owner is dead"
    write_foreign(folder, 5)
    write_foreign(folder, 6)
    assert lease.RunWatch(folder, 5).is_over(), "it was taken over"


def test_what_is_shown_as_running_is_judged_at_one_look() -> None:
    far = MAKE(
        number=1, host="far", process=7, started_at="t", machine="elsewhere", beat_at="2020-01-01T00:00:00+00:00"
    )
    assert not lease.is_held(far)
    assert not lease.is_held(dataclasses.replace(far, beat_at=""))
    now = lease.provenance.utc_now()
    assert lease.is_held(dataclasses.replace(far, beat_at=now))
    assert not lease.is_held(dataclasses.replace(far, beat_at=now, ended_at=now))
    assert not lease.is_held(dataclasses.replace(far, machine=this_machine(), process=2**22 + 1))
