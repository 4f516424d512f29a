"""The name of a column of an exported table in; what it holds, with its unit, out.

The page `docs/export.md` and the fields of an exported Parquet file say the same words.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.probe_catalog import PROBES
from orchestrator.views.probe_rows import block_columns

IDENTITY: Mapping[str, str] = {
    "trial_id": "16 hex digits, a hash of everything that changes the trial's numbers by intent",
    "cell_id": "the same without the seed: equal for replicates of one cell",
    "label": "the cell in words: all its axes",
    "curve": "all its axes but depth: what a line of a figure is called",
    "seed": "replicate; equal seeds mean equal random draws, so trials of two cells pair by it",
    "state": "COMPLETE, DIVERGED, PRUNED, FAIL, RUNNING or WAITING",
}
MODEL: Mapping[str, str] = {
    "depth": "transformer blocks",
    "attention": "the attention, by its name in a spec",
    "embed_dim": "channels of a token",
    "num_heads": "attention heads of a block",
}
TRIAL_MEANINGS: Mapping[str, str] = {
    **IDENTITY,
    **MODEL,
    "num_params": "trainable parameters",
    "flops": "of one image, forward; a multiply-add is 2",
    "num_epochs": "finished epochs; of an unfinished trial those so far",
    "val_acc": "share of validation images the final model classifies correctly, 0..1",
    "val_loss": "its cross-entropy there, nats an image",
    "test_acc": "share of test images the final model classifies correctly, 0..1; computed once",
    "test_loss": "its cross-entropy there, nats an image",
    "num_test_images": "test images behind `test_acc`",
    "wall_time_s": "seconds over all attempts, starts included",
    "train_time_s": "seconds in epochs",
    "peak_memory_mib": "largest memory of the GPU, or of the process on a CPU, MiB",
    "predicted_time_s": "what `train_time_s` was expected to be when the last attempt began",
    "is_predicted_roughly": "whether by the speed of the processor, because nothing alike had been timed",
    "predicted_memory_mib": "what `peak_memory_mib` was expected to be, on a GPU",
    "num_attempts": "how often the trial was started",
    "diverged": "what was seen, for a DIVERGED trial",
    "error": "message of the last failure, for an unfinished trial",
    "failure": "kind of that failure, as `docs/guides/failures.md` lists them",
    "micro_batch_size": "images at a time, where memory ran out and it was trained with fewer than asked",
    "num_packed": "seeds that one process trained together, at most; above 1 no time compares with another trial's",
    "deviations": "how it was trained otherwise than asked, or by several kinds of code or device",
    "protocol": "number of the version of models and training; only equals are averaged",
    "code_fingerprint": "hash of the sources of models and training and of the versions of torch and timm",
    "data_fingerprint": "hash of the dataset's content",
    "device": "`cpu` with its name, or the GPU's name",
    "host": "name of the machine",
    "executor": "what trained it: serial or ray_tune",
    "git_commit": "commit of the working tree",
    "git_dirty": "whether tracked files differed from that commit",
    "versions": "orch, python and the libraries that computed",
    "command": "the command line, secrets removed",
}
EPOCH_MEANINGS: Mapping[str, str] = {
    **IDENTITY,
    **MODEL,
    "epoch": "finished epochs, from 1",
    "train_loss": "mean over the epoch's images, as augmented and smoothed, nats an image",
    "val_loss": "cross-entropy on the validation split, nats an image",
    "val_acc": "share of validation images classified correctly, 0..1",
    "lr": "learning rate at the last step of the epoch",
    "wall_time_s": "seconds the epoch took, evaluation included",
    "num_packed": "seeds that one process trained together in it; the seconds are those of all of them",
}
BLOCK_PLACE: Mapping[str, str] = {
    "epoch": "finished epochs when it was probed; 0 is the untrained network",
    "moment": "untrained, chosen (an epoch the spec names) or final",
    "block_idx": "the block, from 0",
}


def block_meanings() -> dict[str, str]:
    """The columns of a row a block, in their order but for the axes."""
    units = {name: info.unit for name, info in PROBES.items()}
    probed = {}
    for column, words in block_columns().items():
        name = next(name for name in (column, column.rpartition(".")[0]) if name in units)
        probed[column] = f"{words}; {units[name]}" if units[name] else words
    return {**IDENTITY, **MODEL, **BLOCK_PLACE, **probed}


def meanings_of(rows: str) -> Mapping[str, str]:
    """The columns of an export and their meaning, axes of the sweep not among them.

    Args:
        rows: `trials`, `epochs` or `blocks`.
    """
    return {"trials": TRIAL_MEANINGS, "epochs": EPOCH_MEANINGS, "blocks": block_meanings()}[rows]


AXIS_MEANING = "the value of this axis of the sweep; empty where it does not apply"
