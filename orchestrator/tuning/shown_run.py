"""What MLflow shows of a run, and what the run has to show, in; whether they fit out. Knows no MLflow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchestrator.tuning.depth_points import CURVE_METRICS
from orchestrator.tuning.run_content import EPOCH_METRICS, RunContent

DIGEST_TAG = "content_digest"

OWN_METRICS = frozenset((*EPOCH_METRICS, *CURVE_METRICS, "final", "cost"))
"""First parts of the names that are written here; what others log on a run is left alone."""


@dataclass
class ShownRun:
    """What MLflow shows of one run, as far as this process knows; `points` is read when first needed."""

    run_id: str
    status: str
    end_ms: int | None
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    keys: tuple[str, ...] = ()
    points: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    is_read: bool = False

    def shows(self, content: RunContent) -> bool:
        """Whether everything of `content`, a run that has ended, is known to be there and nothing else."""
        return self.tags.get(DIGEST_TAG) == content.digest and self.status == content.status

    def contradicts(self, content: RunContent) -> bool:
        """Whether a param or a point of ours is shown that `content` has not, or has otherwise, or twice."""
        if any(self.params.get(name, value) != value for name, value in content.params.items()):
            return True
        wanted = {(point.key, point.step): point.value for point in (*content.optional, *content.points)}
        for (key, step), values in self.points.items():
            if key.partition("/")[0] not in OWN_METRICS:
                continue
            if (key, step) not in wanted and not content.is_growing:
                return True
            expected = wanted.get((key, step), values[0])
            if len(values) > 1 or not math.isclose(values[0], expected, rel_tol=1e-12):
                return True
        return False
