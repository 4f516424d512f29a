"""Every shipped experiment says what it is, loads, expands, and builds at its smallest cell."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalog import ATTENTION_OPTIONS
from orchestrator.cost import flops, num_params, num_tokens
from orchestrator.grid import Grid, count_trials, expand_grid
from orchestrator.grids.schema import json_schema
from orchestrator.grids.strict_yaml import compose
from orchestrator.spec import load_spec
from orchestrator.trial import Trial

FOLDER = Path(__file__).parents[1] / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

NUM_TRAIN_IMAGES = {"digits": 1797 - 359, "cifar100": 50_000, "image_folder": 1_281_167}
"""Before validation images are held out."""


def header(name: str) -> dict[str, str]:
    """The named lines of the comment that opens the file, each with the lines that go on with it."""
    found: dict[str, str] = {}
    key = ""
    for line in (FOLDER / f"{name}.yaml").read_text().partition("\nname:")[0].splitlines():
        named = re.fullmatch(r"# (\w+): +(.+)", line)
        if named:
            key = named[1]
            found[key] = named[2]
        elif key and line.startswith("#    "):
            found[key] += " " + line[1:].strip()
        else:
            key = ""
    return found


def grid(name: str) -> Grid:
    """The grid; of a spec with `tune:`, as if the middle of each range had been chosen."""
    spec = load_spec(FOLDER / f"{name}.yaml")
    found = expand_grid(spec)
    middles = {cell_id: {one.name: one.middle for one in cell.ranges} for cell_id, cell in found.searches.items()}
    return found.with_chosen(middles, spec.seeds)


def training_flops(trial: Trial) -> float:
    """Forward and backward, of all epochs."""
    images = NUM_TRAIN_IMAGES[trial.data.name] * (1 - trial.data.val_fraction)
    return 3 * flops(trial) * images * (trial.train.epochs + trial.train.cooldown_epochs)


def test_the_experiments_of_the_readme_are_there() -> None:
    assert NAMES == [
        "cifar100_depth",
        "collapse_controls",
        "depth_sweep",
        "embed_dim_scaling",
        "imagenet_depth",
        "smoke",
        "tuned_depth",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_question_command_cost_and_expectation(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    said = header(name)
    assert text.startswith("# yaml-language-server: $schema=sweep.schema.json\n# Question: ")
    assert list(said) == ["Question", "Run", "Cost", "Expect"]
    assert said["Question"].endswith("?")
    assert said["Run"] == f"orch run experiments/{name}.yaml"
    assert load_spec(FOLDER / f"{name}.yaml").question == said["Question"]


@pytest.mark.parametrize("name", NAMES)
def test_the_price_in_the_header_is_that_of_the_grid(name: str) -> None:
    said, trials = header(name)["Cost"], grid(name).trials
    assert said.startswith(f"{len(trials)} trials")
    spec = load_spec(FOLDER / f"{name}.yaml")
    if spec.tune is not None:
        num_search = count_trials(spec) - len(trials)
        assert said.startswith(f"{len(trials)} trials after a search of {num_search}")
    total = sum(map(training_flops, trials))
    for number, unit in re.findall(r"(\d+) (PFLOP|EFLOP) ", said):
        assert int(number) == round(total / {"PFLOP": 1e15, "EFLOP": 1e18}[unit])
    for number in re.findall(r"([\d,]+) / R GPU-hours", said):
        assert float(number.replace(",", "")) == pytest.approx(total / 3600e12, rel=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_it_expands_without_a_warning_under_the_name_of_its_file(name: str) -> None:
    spec = load_spec(FOLDER / f"{name}.yaml")
    assert spec.name == name
    assert expand_grid(spec).warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_its_smallest_cell_is_built_and_checked(name: str) -> None:
    from orchestrator.models import build_model, check_model

    smallest = min(grid(name).trials, key=num_params)
    check_model(build_model(smallest), smallest)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_one_recipe(name: str) -> None:
    trials = grid(name).trials
    assert len({(trial.train, trial.data) for trial in trials}) == 1
    assert len({replace(t.model, depth=1, embed_dim=12, attention="self", **NO_OPTIONS) for t in trials}) == 1


NO_OPTIONS = dict.fromkeys(ATTENTION_OPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_under_the_schema_beside_it(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "sweep.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose((FOLDER / f"{name}.yaml").read_text(), name).value)


def test_the_schema_beside_them_is_current() -> None:
    found = json.loads((FOLDER / "sweep.schema.json").read_text())
    assert found == json_schema(), "orch schema > experiments/sweep.schema.json brings it up to date"


def test_the_widths_of_embed_dim_scaling_keep_the_parameters_and_share_the_trials_of_depth_sweep() -> None:
    flagship, widths = grid("depth_sweep"), grid("embed_dim_scaling")
    shared = {trial.trial_id for trial in flagship.trials} & {trial.trial_id for trial in widths.trials}
    assert len(shared) == len(flagship.trials) == 24
    for attention in ("self", "reattention"):
        cells = [cell for cell in widths.cells if cell.axes["attention"] == attention]
        deepest = max((cell for cell in cells if cell.axes["embed_dim"] == 32), key=lambda cell: cell.axes["depth"])
        target = num_params(deepest.trials[0])
        matched = [cell for cell in cells if cell.axes["embed_dim"] > 32]
        assert [cell.axes["depth"] for cell in matched] == [12, 16, 24]
        assert all(abs(num_params(cell.trials[0]) / target - 1) < 0.07 for cell in matched)


def test_cifar100_depth_has_65_tokens_on_one_gpu() -> None:
    assert {num_tokens(trial.model) for trial in grid("cifar100_depth").trials} == {65}
    assert load_spec(FOLDER / "cifar100_depth.yaml").resources.gpus == 1


RELEASED_RECIPE = {
    "optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.05, "min_lr": 1e-5, "warmup_lr": 1e-6, "warmup_epochs": 5,
    "epochs": 300, "cooldown_epochs": 10, "auto_augment": "rand-m9-mstd0.5-inc1", "random_erasing": 0.25,
    "label_smoothing": 0.1, "ema_decay": 0.99996, "mixup": 0.8, "cutmix": 1.0, "micro_batch_size": 32,
    "clip_grad": None,
}  # fmt: skip
"""Of DeepViT's configurations; mixup and CutMix are those of the one with 24 blocks."""


def test_imagenet_depth_is_the_papers_setting() -> None:
    trials = grid("imagenet_depth").trials
    recipe = trials[0].train
    assert {name: getattr(recipe, name) for name in RELEASED_RECIPE} == RELEASED_RECIPE
    model = trials[0].model
    assert (model.img_size, model.patch_size, model.embed_dim, model.num_heads) == (224, 16, 384, 12)
    assert (model.mlp_ratio, model.drop_path_rate, trials[0].data.num_classes) == (3.0, 0.2, 1000)
    millions = {t.model.depth: num_params(t) / 1e6 for t in trials if t.model.attention == "self"}
    assert {depth: round(count, 2) for depth, count in millions.items()} == {12: 18.51, 16: 24.42, 24: 36.26, 32: 48.09}
    added = {num_params(t) / 1e6 - millions[t.model.depth] for t in trials if t.model.attention == "reattention"}
    assert sorted(round(1e6 * count) for count in added) == [180 * depth for depth in (12, 16, 24, 32)]
