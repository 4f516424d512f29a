"""The name of an attention in; its class out."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from torch import nn

from orchestrator.catalog import is_dotted_attention
from orchestrator.errors import TrainingError
from orchestrator.models.block_memory import Neutreno, RealFormer, ValueResidual
from orchestrator.models.controls import BatchNormOnly, CentreOnly, GainOnly
from orchestrator.models.differential import DifferentialAttention
from orchestrator.models.reattention import LayerNormReAttention, MixOnly, ReAttention
from orchestrator.models.rescaling import AttnScale, FeatScale, TemperatureAttention
from orchestrator.models.softmax_attention import SelfAttention
from orchestrator.models.talking_heads import TalkingHeads
from orchestrator.user_attention import import_root

ATTENTION_CLASSES: Mapping[str, type[nn.Module]] = {
    "self": SelfAttention,
    "reattention": ReAttention,
    "reattention_ln": LayerNormReAttention,
    "mix_only": MixOnly,
    "batchnorm_only": BatchNormOnly,
    "centre_only": CentreOnly,
    "gain_only": GainOnly,
    "talking_heads": TalkingHeads,
    "temperature": TemperatureAttention,
    "attnscale": AttnScale,
    "featscale": FeatScale,
    "neutreno": Neutreno,
    "value_residual": ValueResidual,
    "realformer": RealFormer,
    "differential": DifferentialAttention,
}


def attention_class(name: str) -> type[nn.Module]:
    """The class of an attention of the catalog, or a user's own by dotted path.

    Raises:
        TrainingError: a user's class cannot be imported, or is no torch.nn.Module.
    """
    return _import_class(name) if is_dotted_attention(name) else ATTENTION_CLASSES[name]


def _import_class(dotted: str) -> type[nn.Module]:
    root = str(import_root(dotted))
    if root not in sys.path:
        sys.path.insert(0, root)
    module_name, _, class_name = dotted.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise TrainingError(
            f"the attention {dotted!r} cannot be imported: {type(error).__name__}: {error}; "
            f"`python -c 'import {module_name}'` shows where"
        ) from error
    cls = getattr(module, class_name, None)
    if cls is None:
        raise TrainingError(f"the attention {dotted!r} cannot be found: {module.__file__} defines no {class_name!r}")
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TrainingError(f"the attention {dotted!r} is no torch.nn.Module class: it is {cls!r}")
    return cls
