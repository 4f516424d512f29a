"""Whether the processes that carry a run are still there. Ray does not tell a driver that they died.

The driver knocks at the ports of the raylet beside it and of the cluster's control service (GCS). A closed door is
certain and believed the second time; silence is believed after several knocks.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

Door = tuple[str, int]

SECONDS_BETWEEN_KNOCKS = 1.5
SECONDS_TO_OPEN = 1.0
CLOSED_IS_BELIEVED_AT = 2
SILENCE_IS_BELIEVED_AT = 3


@dataclass
class Watch:
    """Knocks from a thread of its own until `stop`."""

    doors: Mapping[str, Door]
    """What stands behind a port, in words, and where."""
    lost: str | None = None
    """A sentence about what is gone."""
    misses: dict[str, int] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, name="ray-watch", daemon=True).start()

    def stop(self) -> None:
        self.ended.set()

    def is_alone(self) -> bool:
        """Whether a door is closed right now."""
        return self.lost is not None or any(knock(*door) is not None for door in self.doors.values())

    def _run(self) -> None:
        while not self.ended.wait(SECONDS_BETWEEN_KNOCKS):
            self.look()
            if self.lost is not None:
                return

    def look(self) -> None:
        """One round of knocks."""
        for name, (host, port) in self.doors.items():
            problem = knock(host, port)
            if problem is None:
                self.misses[name] = 0
                continue
            self.misses[name] = self.misses.get(name, 0) + 1
            limit = SILENCE_IS_BELIEVED_AT if isinstance(problem, TimeoutError) else CLOSED_IS_BELIEVED_AT
            if self.misses[name] >= limit and not self.ended.is_set():
                self.lost = f"{name} at {host}:{port} is gone ({problem})"


def knock(host: str, port: int) -> OSError | None:
    """None where somebody listens, else why not."""
    try:
        socket.create_connection((host, port), timeout=SECONDS_TO_OPEN).close()
    except OSError as error:
        return error
    return None
