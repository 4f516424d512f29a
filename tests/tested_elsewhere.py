"""Modules whose tests stand under another name; `test_architecture.py` holds them to it."""

from __future__ import annotations

TESTED_ELSEWHERE = {
    "__init__.py": "views/test_export.py",
    "__main__.py": "test_packaging.py",
    "cli_options.py": "test_cli.py",
    "cli_place.py": "test_cli.py",
    "cli_run.py": "test_cli.py",
    "cli_setup.py": "test_cli.py",
    "cli_show.py": "test_cli.py",
    "cli_status.py": "test_cli.py",
    "cli_trust.py": "test_cli_verify.py",
    "cli_views.py": "test_cli.py",
    "configs.py": "test_trial.py",
    "failure.py": "tuning/test_failures.py",
    "record.py": "test_results.py",
    "probe_catalog.py": "training/test_probes.py",
    "views/columns.py": "views/test_export.py",
    "views/frames.py": "views/test_figures.py",
    "views/probe_captions.py": "views/test_figures.py",
    "tuning/attempt.py": "tuning/test_executors.py",
    "tuning/board.py": "tuning/test_live.py",
    "tuning/events.py": "tuning/test_executors.py",
    "models/batch_share.py": "training/test_shards.py",
    "training/evaluate.py": "training/test_shards.py",
    "tuning/attempt_start.py": "tuning/test_attempt_failures.py",
    "training/micro_batch.py": "tuning/test_fitting.py",
    "training/recipe.py": "training/test_loop.py",
    "tuning/ray_environment.py": "tuning/test_ray_cluster.py",
    "tuning/ray_trial.py": "tuning/test_executors.py",
    "tuning/runner.py": "tuning/test_sweep.py",
    "tuning/serial.py": "tuning/test_executors.py",
    "tuning/stop_file.py": "tuning/test_sweep.py",
    "tuning/trial_record.py": "tuning/test_executors.py",
}
"""Modules without a `test_<name>*.py` of their own, and the file that tests them."""
