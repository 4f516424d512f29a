"""Ray, and what it reads from the environment at its import: every other file takes Ray from here.

Token authentication is on unless a person joins a cluster with `--insecure`, usage reports are off, and Tune neither
writes loggers of its own nor saves a state that nobody reads. What still runs after Ray is left starts no other Ray.
Processes that Ray starts in advance wait a minute for work, and not a second, as Tune may be longer in asking for them.
"""

from __future__ import annotations

import os

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "32",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  the environment above is read at import
from ray import tune  # noqa: E402
from ray._raylet import (  # type: ignore[attr-defined]  # noqa: E402
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    AuthenticationTokenLoader,
    Config,
    GcsClient,
    persist_port,
)
from ray.air.execution._internal import RayActorManager  # noqa: E402
from ray.tune.execution import tune_controller  # noqa: E402
from ray.tune.execution.class_cache import _ActorClassCache as ActorClassCache  # noqa: E402

__all__ = [
    "DASHBOARD_AGENT_LISTEN_PORT_NAME",
    "ENVIRONMENT",
    "ActorClassCache",
    "AuthenticationTokenLoader",
    "Config",
    "GcsClient",
    "RayActorManager",
    "persist_port",
    "ray",
    "tune",
    "tune_controller",
]
