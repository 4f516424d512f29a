"""What becomes of trials in; a reason to stop the whole run, once several died of one bug, out.

A bug in an attention meets every trial of it. Training on would turn the rest of the grid into the same traceback.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.failure import MAX_SAME_ERROR
from orchestrator.tuning.events import TrialEnded


@dataclass
class SameErrorWatch:
    """Counts trials by the signature of their error."""

    trials: dict[str, set[str]] = field(default_factory=dict)

    def see(self, ended: TrialEnded) -> str | None:
        """Why the run has to stop, once as many trials as are allowed ended with one error; None before and after."""
        if ended.signature is None:
            return None
        known = self.trials.setdefault(ended.signature, set())
        is_new = ended.trial_id not in known
        known.add(ended.trial_id)
        if not is_new or len(known) != MAX_SAME_ERROR:
            return None
        return (
            f"the same error ended {len(known)} trials ({', '.join(sorted(known))}): {ended.error}; the others wait. "
            "Mend it and run again with --retry-failed, or train on with --keep-going"
        )
