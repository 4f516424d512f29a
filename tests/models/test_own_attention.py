"""A user's own attention comes in by dotted path, without a change of our code."""

from __future__ import annotations

import pytest
import torch

from orchestrator.errors import TrainingError
from orchestrator.models import build_model
from orchestrator.user_attention import attention_source_hash
from tests.models.trials import make_trial

VALUE_RESIDUAL = """
import torch
from torch import nn

class MyAttention(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.num_heads = spec.num_heads
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim, bias=spec.qkv_bias)
        self.proj = nn.Linear(spec.dim, spec.dim)

    def forward(self, x, context):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        v = v + context.shared.setdefault("first_values", v)
        return self.proj((q @ k.transpose(-2, -1)).softmax(dim=-1) @ v)
"""


def test_it_is_built_and_trained_like_ours(own_attention):
    model = build_model(make_trial(attention=own_attention(VALUE_RESIDUAL)))
    assert [type(block.attn).__name__ for block in list(model.blocks)] == ["MyAttention"] * 3
    model(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_its_start_depends_on_seed_and_block_and_nothing_else(own_attention):
    dotted = own_attention(VALUE_RESIDUAL)
    name = "blocks.1.attn.qkv.weight"
    torch.manual_seed(1)
    first = build_model(make_trial(attention=dotted)).state_dict()
    torch.manual_seed(2)
    deeper = build_model(make_trial(attention=dotted, depth=4)).state_dict()
    assert all(torch.equal(value, deeper[key]) for key, value in first.items())
    assert not torch.equal(first[name], first["blocks.0.attn.qkv.weight"])
    assert not torch.equal(first[name], build_model(make_trial(attention=dotted, seed=1)).state_dict()[name])


def test_it_keeps_its_own_start_and_the_rest_starts_as_with_self_attention(own_attention):
    gain = "self.gain = nn.Parameter(torch.full((1,), 7.0))\n        "
    source = VALUE_RESIDUAL.replace("self.proj =", gain + "self.proj =")
    own = build_model(make_trial(attention=own_attention(source))).state_dict()
    assert own["blocks.2.attn.gain"].item() == 7.0
    plain = build_model(make_trial()).state_dict()
    outside = [name for name in plain if ".attn." not in name]
    assert all(torch.equal(own[name], plain[name]) for name in outside)


def test_the_values_of_an_earlier_block_come_through_the_context_under_checkpointing_too(own_attention):
    trial = make_trial(attention=own_attention(VALUE_RESIDUAL))
    x, gradients = torch.randn(2, 1, 8, 8), []
    for checkpointing in (False, True):
        model = build_model(trial)
        model.set_grad_checkpointing(checkpointing)
        model(x).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert gradients[0]["blocks.0.attn.qkv.weight"].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_anywhere", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("class Another: pass", "defines no 'MyAttention'"),
        ("class MyAttention: pass", "is no torch.nn.Module class"),
        ("def MyAttention(spec): pass", "is no torch.nn.Module class"),
        (
            "from torch import nn\nclass MyAttention(nn.Module):\n    def __init__(self): pass",
            "cannot be built: TypeError",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(own_attention, source, said):
    with pytest.raises(TrainingError, match=said):
        build_model(make_trial(attention=own_attention(source)))


def test_a_missing_module_is_said_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=f"there is no module 'nowhere.attn' in {tmp_path}"):
        build_model(make_trial(attention="nowhere.attn:MyAttention"))


def test_a_source_changed_since_it_was_planned_is_refused(own_attention):
    dotted = own_attention(VALUE_RESIDUAL)
    planned = make_trial(attention=dotted, attention_source=attention_source_hash(dotted))
    build_model(planned)
    own_attention(VALUE_RESIDUAL + "# another line\n")
    with pytest.raises(TrainingError, match="has changed since the trial was planned"):
        build_model(planned)
