"""Nothing in; the commented spec that `orch init` writes out."""

from __future__ import annotations

STARTER_SPEC = """\
# yaml-language-server: $schema=sweep.schema.json
#
# Question: does a deeper transformer read handwritten digits better, and does Re-attention help it?
# Run:      orch run sweep.yaml
# Cost:     4 trials, about a minute on two CPU cores          Expect: test accuracy about 0.9 in every cell

name: digits_starter               # the sweep's folder under results/ is called so

axes:                              # the question: every combination of these values is a cell
  depth: [2, 6]                    # transformer blocks
  attention: [self, reattention]   # softmax attention, and that of DeepViT
  # Any field of model, data or train can be an axis, by its name or as train.lr. Some forms to try:
  # embed_dim: [32, {match_params: {depth: 6, embed_dim: 32}}]               # or the width of equal parameter count
  # reattention_last: {values: [1, 2], when: {attention: reattention}}       # an axis of one attention only

# exclude:                         # cells to leave out; a rule fits where all of its fields do
#   - {depth: 6, attention: self}

seeds: 1                           # replicates of every cell: how many, a list such as [0, 1, 2], or a rule such as
                                   # {min: 3, max: 10, until: {ci_half_width: 0.01}}; error bars need 3

# tune:                            # lr is then chosen for each cell, on validation images, before the cell is measured
#   axes: {lr: {log_uniform: [1.0e-3, 2.0e-2]}}
#   num_trials: 8                  # search trials for each cell

model:                             # what every cell shares; argument names are timm's
  patch_size: 2
  embed_dim: 32
  num_heads: 4
  mlp_ratio: 2.0
  weight_init: xavier_uniform      # so narrow a model learns slowly from timm's small default weights

data:
  name: digits                     # scikit-learn's bundled images of 8 x 8 pixels; nothing is downloaded

train:
  epochs: 10
  batch_size: 64
  lr: 5.0e-3
  warmup_epochs: 1

resources: {cpus: 1, gpus: 0}      # of one trial; more cores run more trials side by side
tracking: {mlflow: true}           # mirror everything to MLflow; `orch ui` shows it
"""


def starter_spec() -> str:
    """A small sweep over the bundled digits: four trials that need no download and no GPU."""
    return STARTER_SPEC
