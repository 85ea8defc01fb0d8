"""The shared Transformer is transformers' GPT-2, Llama, Qwen2 and Qwen3: the same logits from the same files, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.models.common.hub_format import config_from_hub
from miaobi.models.common.language import load_network, packed_attention, save_network
from miaobi.models.common.transformer import TorchStepper, Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}


def llama(**rope: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, rope_parameters=rope))


MODELS: dict[str, Any] = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=97, n_embd=48, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
    ),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)),
    "llama3": lambda: llama(**LLAMA3),
    "linear": lambda: llama(rope_type="linear", rope_theta=1e4, factor=3.0),
    "yarn": lambda: llama(**YARN, beta_fast=8, beta_slow=2),
    "yarn_of_deepseek": lambda: llama(**YARN, mscale=0.7, mscale_all_dim=0.3, truncate=False),
    "llama_biases": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=16)),
}
TOKENS = torch.randint(0, 97, (3, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=list(MODELS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    """A model of transformers with random weights, and ours loaded from what it saved."""
    torch.manual_seed(0)
    theirs = MODELS[request.param]().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return theirs, load_network(folder)


@torch.no_grad()
def test_logits_agree(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, rtol=0, atol=1e-5)


@torch.no_grad()
def test_transformers_loads_what_we_save(pair: tuple[Any, Transformer], tmp_path: Path) -> None:
    theirs, ours = pair
    save_network(ours, tmp_path, bos_token_id=1, eos_token_id=2)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(theirs)
    torch.testing.assert_close(again(TOKENS).logits, theirs(TOKENS).logits, rtol=0, atol=1e-5)


@torch.no_grad()
def test_stepping_over_unequal_prompts_equals_reading_at_once(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    expected = theirs(TOKENS).logits
    stepper = TorchStepper(ours, reserve=2)  # so small that the cache must grow
    lengths = [5, 11, 8]
    logits = stepper.start([TOKENS[row, :length].tolist() for row, length in enumerate(lengths)])
    for step in range(9):
        for row, length in enumerate(lengths):
            torch.testing.assert_close(logits[row], expected[row, length + step - 1], rtol=0, atol=1e-5)
        logits = stepper.step([int(TOKENS[row, length + step]) for row, length in enumerate(lengths)])
    stepper.reorder([2, 0, 2])
    logits = stepper.step([int(TOKENS[row, lengths[row] + 9]) for row in (2, 0, 2)])
    torch.testing.assert_close(logits[0], expected[2, 8 + 9], rtol=0, atol=1e-5)
    torch.testing.assert_close(logits[1], expected[0, 5 + 9], rtol=0, atol=1e-5)


@torch.no_grad()
def test_packed_documents_do_not_see_each_other(pair: tuple[Any, Transformer]) -> None:
    _, ours = pair
    row = torch.cat((TOKENS[0, :9], TOKENS[1, :6], TOKENS[2, :5]))[None]
    segments = torch.tensor([[1] * 9 + [2] * 6 + [3] * 5])
    positions, mask = packed_attention(segments)
    assert positions[0].tolist() == [*range(9), *range(6), *range(5)]
    packed = ours(row, positions=positions, mask=mask)
    alone = torch.cat([ours(TOKENS[row : row + 1, :length]) for row, length in ((0, 9), (1, 6), (2, 5))], dim=1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)


def test_gradients_agree_with_transformers(pair: tuple[Any, Transformer]) -> None:
    theirs, ours = pair
    names = {"gpt2": "transformer.wte.weight"}.get(theirs.config.model_type, "model.embed_tokens.weight")
    ours.zero_grad()
    theirs.zero_grad()
    ours(TOKENS).logsumexp(-1).sum().backward()
    theirs(TOKENS).logits.logsumexp(-1).sum().backward()
    expected = dict(theirs.named_parameters())[names].grad
    torch.testing.assert_close(ours.embed.weight.grad, expected, rtol=1e-4, atol=1e-4)


def write(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if tensors is not None:
        save_file(tensors, folder / "model.safetensors")
    return folder


LLAMA_CONFIG = {**SHAPE, "model_type": "llama", "max_position_embeddings": 64}


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture 'lama'\. Did you mean 'llama'"):
        config_from_hub({"model_type": "lama"})


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        {"partial_rotary_factor": 0.5},
        {"use_sliding_window": True},
    ],
    ids=str,
)
def test_what_we_do_not_compute_is_refused_instead_of_miscomputed(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="hf_transformers"):
        config_from_hub({**LLAMA_CONFIG, **change})


def test_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json"):
        load_network(tmp_path)
    write(tmp_path, LLAMA_CONFIG, {"model.norm.weight": torch.ones(48)})
    with pytest.raises(ArtifactError, match="lack"):
        load_network(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_network(tmp_path)
