"""The trials of a spec in, trained by what people write by hand; each peer trains with the same loop as `orch run`.

    python -m benchmarks.orchestration_peers PEER SPEC FOLDER

A trained trial leaves FOLDER/<trial_id>.json with its test accuracy and its seconds in epochs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.grid import expand_grid
from orchestrator.spec import load_spec
from orchestrator.trial import Trial

NUM_SLOTS = 2
ROOT = Path(__file__).parent.parent


def trials_of(spec: Path) -> list[Trial]:
    """In the order of the spec, as a loop written by hand would have them."""
    return list(expand_grid(load_spec(spec)).trials)


def train_one(trial: Trial, folder: Path) -> float:
    """Train to the end; the test accuracy."""
    from orchestrator.training.loop import train

    training = train(trial)
    while True:
        try:
            next(training)
        except StopIteration as end:
            outcome = end.value
            break
    content = {"test_acc": outcome.test_acc, "train_time_s": outcome.progress.train_time_s}
    (folder / f"{trial.trial_id}.json").write_text(json.dumps(content))
    return float(outcome.test_acc)


def shell_loop(spec: Path, folder: Path) -> None:
    """A process a trial, two at a time: `xargs -P 2`."""
    numbers = "\n".join(str(number) for number in range(len(trials_of(spec))))
    words = [sys.executable, "-m", "benchmarks.orchestration_peers", "one", str(spec), str(folder)]
    subprocess.run(["xargs", "-P", str(NUM_SLOTS), "-n", "1", *words], input=numbers, text=True, check=True, cwd=ROOT)


def ray_tune(spec: Path, folder: Path) -> None:
    """A Tune script with MLflow's callback."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    known = trials_of(spec)

    def trainable(config: dict[str, Any]) -> None:
        tune.report({"test_acc": train_one(known[config["number"]], folder)})

    ray.init("local", num_cpus=NUM_SLOTS, include_dashboard=False, log_to_driver=False)
    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="peer")
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(len(known))))},
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), callbacks=[callback], verbose=0),
    ).fit()


def optuna_joblib(spec: Path, folder: Path) -> None:
    """Optuna's grid sampler, two joblib processes that share a SQLite study; each has every second point, because two
    samplers on one grid train some points twice.
    """
    import joblib
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage, numbers = f"sqlite:///{folder}/optuna.db", list(range(len(trials_of(spec))))
    optuna.create_study(storage=storage, study_name="peer")
    joblib.Parallel(n_jobs=NUM_SLOTS)(
        joblib.delayed(_optimize)(storage, numbers[slot::NUM_SLOTS], spec, folder) for slot in range(NUM_SLOTS)
    )


def _optimize(storage: str, own: list[int], spec: Path, folder: Path) -> None:
    import optuna

    known = trials_of(spec)
    sampler = optuna.samplers.GridSampler({"number": own})
    study = optuna.load_study(storage=storage, study_name="peer", sampler=sampler)

    def objective(asked: Any) -> float:
        return train_one(known[asked.suggest_categorical("number", range(len(known)))], folder)

    study.optimize(objective)  # until the grid is exhausted


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "shell loop": shell_loop,
    "Ray Tune script": ray_tune,
    "Optuna and joblib": optuna_joblib,
}


def run(words: Sequence[str]) -> None:
    """Run the peer that the first word names; `one` trains the trial whose number comes last."""
    peer, spec, folder = words[0], Path(words[1]), Path(words[2])
    if peer == "one":
        train_one(trials_of(spec)[int(words[3])], folder)
    else:
        PEERS[peer](spec, folder)


if __name__ == "__main__":
    run(sys.argv[1:])
