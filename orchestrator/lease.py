"""Who may work on a thing: claims as numbered files in a folder, the highest number counts.

A claim is made where its number is still free, so of several at once one gets it. Its owner shows that it lives by a
beat. An owner on this machine is dead when its process is; one elsewhere when its file has not changed for two leases
by the clock of whoever waits, because clocks of two machines need not agree. Whoever was taken for dead and is not
finds a higher number before its next write (`Lease.check`) and stops.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic

from orchestrator import durable, provenance
from orchestrator.claims import C, claim_file, newest_number, parse_bytes
from orchestrator.errors import LockedError, NotReadyError, OrchestratorError, SupersededError
from orchestrator.processes import is_running, start_of, this_machine
from orchestrator.record import Claim
from orchestrator.redact import redact_text

MakeClaim = Callable[..., C]
"""Takes number, host, process, started_at, machine, process_started and beat_at by name."""

LEASES_TO_WAIT = 2
SECONDS_BETWEEN_LOOKS = 0.2
LEASES_SHOWN_AS_ALIVE = 4

log = logging.getLogger("orchestrator")

_given_up: set[tuple[str, int]] = set()
"""Claims of this process whose end could not be written down."""


class Lease(Generic[C]):
    """A claim of this process, kept alive by a thread until `end`."""

    def __init__(self, folder: Path, claim: C, what: str) -> None:
        self.folder, self.claim, self.what = folder, claim, what
        self._writing, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease of {what}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Call before every write to what is claimed.

        Raises:
            SupersededError: there is a higher number.
        """
        if claim_file(self.folder, self.claim.number + 1).exists():
            number = self.claim.number
            raise SupersededError(f"{self.what} was taken over by number {number + 1}; number {number} writes no more")

    def update(self, **changes: Any) -> None:
        """Change what the claim says.

        Raises:
            SupersededError: there is a higher number.
            ResultsError: the file cannot be written.
        """
        self.check()
        with self._writing:
            self.claim = dataclasses.replace(self.claim, **changes)
            durable.write_sealed_json(claim_file(self.folder, self.claim.number), dataclasses.asdict(self.claim))

    def end(self, outcome: str, **changes: Any) -> None:
        """Give it up and say how it ended; where that cannot be written it is free all the same.

        Raises:
            ResultsError: the file cannot be written.
        """
        self._ended.set()
        try:
            self.update(ended_at=provenance.utc_now(), outcome=outcome, **changes)
        except OrchestratorError:
            _given_up.add((str(self.folder), self.claim.number))
            raise

    def abandon(self) -> None:
        """Let it go without a word, where it has not ended: this process may claim again what it claimed."""
        if not self._ended.is_set():
            self._ended.set()
            _given_up.add((str(self.folder), self.claim.number))

    def _beat(self) -> None:
        while not self._ended.wait(self.claim.lease_s / 3):
            try:
                self.update(beat=self.claim.beat + 1, beat_at=provenance.utc_now())
            except SupersededError:
                return
            except NotReadyError as error:
                log.warning("%s; trying again", error)


def create(folder: Path, number: int, what: str, make: MakeClaim[C]) -> Lease[C] | None:
    """Claim `number` for this process, None where somebody else has it already.

    Raises:
        ResultsError: the folder cannot be written.
    """
    claim = make(
        number=number,
        host=provenance.host(),
        process=os.getpid(),
        started_at=provenance.utc_now(),
        machine=this_machine(),
        process_started=start_of(os.getpid()),
        beat_at=provenance.utc_now(),
    )
    if not durable.create_sealed_json(claim_file(folder, number), dataclasses.asdict(claim)):
        return None
    durable.remove_leftovers(folder)
    return Lease(folder, claim, what)


def wait_until_free(
    folder: Path,
    kind: type[C],
    what: str,
    *,
    wait: bool,
    may_take: Callable[[C], bool] = lambda claim: False,
    on_wait: Callable[[str], None] = lambda owner: None,
) -> int:
    """The highest number in `folder`, 0 without one, once nobody holds it.

    Args:
        wait: wait for a live owner instead of raising.
        may_take: whether a claim may be taken over though its owner may live.
        on_wait: told the owner before each pause; may raise.

    Raises:
        LockedError: a live owner holds it. An owner elsewhere is watched first, for two of its leases.
        ResultsError: the folder cannot be read.
    """
    watch = Watch()
    while True:
        number = newest_number(folder)
        path = claim_file(folder, number)
        content = durable.read_bytes(path) if number else None
        if content is None or (str(folder), number) in _given_up:
            return number
        claim = parse_bytes(path, content, kind)
        if claim is not None and (claim.ended_at is not None or may_take(claim)):
            return number
        seems_alive = watch.sees_life(claim, (number, content))
        if seems_alive is False:
            return number
        owner = f"{path} is damaged" if claim is None else _told(claim)
        if seems_alive and not wait:
            raise LockedError(what, owner)
        on_wait(owner)
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def hold(
    folder: Path, what: str, kind: type[C], make: MakeClaim[C], on_wait: Callable[[str], None] = lambda owner: None
) -> Iterator[Lease[C]]:
    """Hold what `folder` stands for while the block runs.

    Raises:
        LockedError: a live owner holds it.
        ResultsError: the folder cannot be read or written.
    """
    lease = None
    while lease is None:
        number = wait_until_free(folder, kind, what, wait=False, on_wait=on_wait)
        lease = create(folder, number + 1, what, make)
    try:
        yield lease
    except BaseException as error:
        _end_quietly(lease, "FAIL", error=redact_text(str(error)) or type(error).__name__)
        raise
    _end_quietly(lease, "ENDED")


class Watch:
    """Tells by and by whether the owner of a claim lives."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since = 0.0

    def sees_life(self, claim: Claim | None, content: object) -> bool | None:
        """True or False, None while it cannot be told.

        Args:
            claim: None for one that cannot be read.
            content: what its file holds; a change is a sign of life.
        """
        if claim is not None and claim.machine == this_machine():
            return is_running(claim.process, claim.process_started)
        now = time.monotonic()
        if content != self._seen:
            is_first, self._seen, self._since = self._seen is None, content, now
            return None if is_first else True
        lease_s = claim.lease_s if claim is not None else Claim.lease_s
        return False if now - self._since > LEASES_TO_WAIT * lease_s else None


class RunWatch:
    """Whether the run that a process works for goes on, asked by that process."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number, self._watch = folder, number, Watch()

    def is_over(self) -> bool:
        """The run has ended, was taken over, or its owner is dead; False while that cannot be told."""
        path = claim_file(self._folder, self._number)
        try:
            content = durable.read_bytes(path)
            if content is None or claim_file(self._folder, self._number + 1).exists():
                return True
            claim = parse_bytes(path, content, Claim)
        except NotReadyError:
            return False
        if claim is not None and claim.ended_at is not None:
            return True
        return self._watch.sees_life(claim, content) is False


def is_held(claim: Claim) -> bool:
    """Whether a live process seems to hold the claim, at one look; writes nothing.

    An owner elsewhere is judged by the two machines' clocks, which serves to show people and never to take over.
    """
    if claim.ended_at is not None:
        return False
    if claim.machine == this_machine():
        return is_running(claim.process, claim.process_started)
    try:
        age_s = (datetime.now(UTC) - datetime.fromisoformat(claim.beat_at)).total_seconds()
    except ValueError:
        return False
    return age_s < LEASES_SHOWN_AS_ALIVE * claim.lease_s


def _told(claim: Claim) -> str:
    return f"process {claim.process} on {claim.host} since {claim.started_at}, number {claim.number}"


def _end_quietly(lease: Lease[Any], outcome: str, **changes: Any) -> None:
    """What ended cannot be undone by not being able to say so."""
    try:
        lease.end(outcome, **changes)
    except OrchestratorError as error:
        log.warning("%s", error)
