"""Trial -> nn.Module."""

from orchestrator.models.attention import ATTENTION_CLASSES, attention_class
from orchestrator.models.check import check_model, count_on_meta
from orchestrator.models.context import ForwardContext, Observer
from orchestrator.models.deepvit import load_deepvit
from orchestrator.models.softmax_attention import AttentionSpec
from orchestrator.models.vit import VisionTransformer, build_model

__all__ = [
    "ATTENTION_CLASSES",
    "AttentionSpec",
    "ForwardContext",
    "Observer",
    "VisionTransformer",
    "attention_class",
    "build_model",
    "check_model",
    "count_on_meta",
    "load_deepvit",
]
