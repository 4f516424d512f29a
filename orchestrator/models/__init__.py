"""Trial -> nn.Module."""

from orchestrator.models.attention import ATTENTION_CLASSES, AttentionSpec, attention_class
from orchestrator.models.context import ForwardContext
from orchestrator.models.vit import VisionTransformer, build_model

__all__ = [
    "ATTENTION_CLASSES",
    "AttentionSpec",
    "ForwardContext",
    "VisionTransformer",
    "attention_class",
    "build_model",
]
