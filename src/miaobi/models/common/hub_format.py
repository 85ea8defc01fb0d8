"""Hugging Face's names for the Transformer: its `config.json` and its tensors, both ways, so that either side loads what the other saves.

GPT-2 keeps query, key and value in one tensor and stores projections as (in, out); all others store (out, in) and keep them apart.
Only GPT-2's fused tensors need torch, so the exporter reads the same tables without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import ArtifactError, unknown
from miaobi.core.protocols import HubNames
from miaobi.models.common import rotary
from miaobi.models.common.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_LLAMA = {
    "norm1": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "norm2": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_GPT2 = {
    "norm1": "ln_1",
    "attention.output": "attn.c_proj",
    "norm2": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
_GPT2_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def read_config(folder: Path) -> dict[str, Any]:
    """The values of `config.json`.

    Raises:
        ArtifactError: there is none, or it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError("{folder} has no config.json, so it is no language model", folder=folder) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError("{path} is not valid JSON ({error})", path=path, error=error) from None
    if not isinstance(values, dict):
        raise ArtifactError("{path} is not valid JSON ({error})", path=path, error="no object")
    return values


def config_from_hub(values: Mapping[str, Any]) -> TransformerConfig:
    """The configuration that a `config.json` describes.

    Raises:
        UsageError: an architecture that this Transformer does not cover.
        ArtifactError: a covered one with a variation that it does not compute (another activation, rope type or sliding window).
    """
    kind = str(values.get("model_type", ""))
    if kind not in ARCHITECTURES:
        raise unknown("architecture", kind, ARCHITECTURES)
    if kind == "gpt2":
        _expect(values, "activation_function", ("gelu_new", "gelu_pytorch_tanh"), "gelu_new")
        for key, usual in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False), ("add_cross_attention", False)):
            _expect({key: str(bool(values.get(key, usual)))}, key, (str(usual),), "")
        heads, width = int(values["n_head"]), int(values["n_embd"])
        return TransformerConfig(
            vocab_size=int(values["vocab_size"]),
            width=width,
            layers=int(values["n_layer"]),
            heads=heads,
            key_heads=heads,
            head_width=width // heads,
            hidden=int(values.get("n_inner") or 4 * width),
            context=int(values["n_positions"]),
            norm="layer",
            norm_eps=float(values.get("layer_norm_epsilon", 1e-5)),
            feed_forward="gelu",
            positions="learned",
            attention_bias=True,
            output_bias=True,
            feed_forward_bias=True,
            tied=bool(values.get("tie_word_embeddings", True)),
            dropout=float(values.get("resid_pdrop", 0.0)),
        )
    _expect(values, "hidden_act", ("silu", "swish"), "silu")
    if values.get("use_sliding_window", kind == "mistral" and values.get("sliding_window")):
        raise ArtifactError(
            "this model attends through a sliding window, which our Transformer does not compute; load it with the family hf_transformers"
        )
    heads, width = int(values["num_attention_heads"]), int(values["hidden_size"])
    rope, context = rope_of(values), int(values["max_position_embeddings"])
    stretching = rope.get("rope_type", rope.get("type", "default"))
    _expect({"rope_type": stretching}, "rope_type", rotary.KINDS, "default")
    _expect({"partial_rotary_factor": str(float(rope.get("partial_rotary_factor", 1)))}, "partial_rotary_factor", ("1.0",), "1.0")
    return TransformerConfig(
        vocab_size=int(values["vocab_size"]),
        width=width,
        layers=int(values["num_hidden_layers"]),
        heads=heads,
        key_heads=int(values.get("num_key_value_heads") or heads),
        head_width=int(values.get("head_dim") or width // heads),
        hidden=int(values["intermediate_size"]),
        context=rotary.stretched(rope, context),
        norm_eps=float(values.get("rms_norm_eps", 1e-6)),
        rope_theta=float(rope.get("rope_theta") or values.get("rope_theta") or 10_000.0),
        rope_type=stretching,
        rope_scaling=rotary.scaling_from_hub(stretching, rope, context),
        query_key_norm=kind == "qwen3",
        attention_bias=kind == "qwen2" or bool(values.get("attention_bias", False)),
        output_bias=kind != "qwen2" and bool(values.get("attention_bias", False)),
        feed_forward_bias=bool(values.get("mlp_bias", False)),
        tied=bool(values.get("tie_word_embeddings", False)),
        dropout=float(values.get("miaobi_dropout", 0.0)),
    )


def config_to_hub(config: TransformerConfig, **tokens: int | None) -> dict[str, Any]:
    """The `config.json` of a configuration; `tokens` adds bos_token_id and the like."""
    common = {"vocab_size": config.vocab_size, "tie_word_embeddings": config.tied, "dtype": "float32", **tokens}
    if config.positions == "learned":
        return {
            "architectures": [ARCHITECTURES["gpt2"]],
            "model_type": "gpt2",
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "n_positions": config.context,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
            **common,
        }
    kind = "qwen3" if config.query_key_norm else "qwen2" if config.attention_bias and not config.output_bias else "llama"
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": rotary.scaling_to_hub(config),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.feed_forward_bias,
        "attention_dropout": 0.0,
        "miaobi_dropout": config.dropout,
        **common,
    }


def weights_from_hub(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from Hugging Face's tensors.

    Raises:
        ArtifactError: a tensor is missing.
    """
    if config.positions == "learned":
        state = _gpt2_in(config, tensors)
    else:
        state = _rename(tensors, {ours: theirs for theirs, ours in _names(config)})
    if config.tied:
        state["head.weight"] = state["embed.weight"]
    return state


def weights_to_hub(config: TransformerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's tensors from our state dict; a tied head is not written twice."""
    if config.positions == "learned":
        return _gpt2_out(config, state)
    return _rename(state, dict(_names(config)))


def hub_modules(config: TransformerConfig) -> HubNames:
    """What they call our matrices. GPT-2's query, key and value are one of theirs."""
    if config.positions != "learned":
        ours = [name.removesuffix(".weight") for _, name in _names(config) if name.endswith(".weight") and name.startswith("blocks.")]
        theirs = {name.removesuffix(".weight"): hub.removesuffix(".weight") for hub, name in _names(config)}
        return HubNames(modules={name: theirs[name] for name in ours if "norm" not in name})
    names: dict[str, str] = {}
    for layer in range(config.layers):
        names |= {f"blocks.{layer}.attention.{part}": f"transformer.h.{layer}.attn.c_attn" for part in ("query", "key", "value")}
        names |= {f"blocks.{layer}.{own}": f"transformer.h.{layer}.{hub}" for own, hub in _GPT2.items() if "norm" not in own}
    return HubNames(modules=names, transposed=True)


def _names(config: TransformerConfig) -> list[tuple[str, str]]:
    """(their name, our name) of every tensor of the Llama line."""
    names = [("model.embed_tokens.weight", "embed.weight"), ("model.norm.weight", "norm.weight")]
    if not config.tied:
        names.append(("lm_head.weight", "head.weight"))
    for layer in range(config.layers):
        for ours, theirs in _LLAMA.items():
            if ours.endswith(("query_norm", "key_norm")) and not config.query_key_norm:
                continue
            part, _, name = ours.partition(".")
            attention_bias = config.output_bias if name == "output" else config.attention_bias and not name.endswith("norm")
            biased = attention_bias if part == "attention" else config.feed_forward_bias and part == "feed_forward"
            for kind in ("weight", "bias") if biased else ("weight",):
                names.append((f"model.layers.{layer}.{theirs}.{kind}", f"blocks.{layer}.{ours}.{kind}"))
    return names


def _rename(tensors: Mapping[str, Tensor], wanted: Mapping[str, str]) -> dict[str, Tensor]:
    """`wanted` maps the new name to the present one."""
    missing = [name for name in wanted.values() if name not in tensors]
    if missing:
        raise ArtifactError("the weights lack {count} tensors, the first is {name}", count=len(missing), name=missing[0])
    return {new: tensors[old] for new, old in wanted.items()}


def _gpt2_in(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    fixed = {"embed.weight": "wte.weight", "embed_positions.weight": "wpe.weight", "norm.weight": "ln_f.weight", "norm.bias": "ln_f.bias"}
    if not config.tied:
        fixed["head.weight"] = "lm_head.weight"
    state = _rename(plain, fixed)
    for layer in range(config.layers):
        names = {
            f"blocks.{layer}.{ours}.{kind}": f"h.{layer}.{theirs}.{kind}" for ours, theirs in _GPT2.items() for kind in ("weight", "bias")
        }
        for ours, tensor in _rename(plain, names).items():
            state[ours] = tensor.T.contiguous() if names[ours].endswith(_GPT2_TRANSPOSED) else tensor
        fused = _rename(plain, {kind: f"h.{layer}.attn.c_attn.{kind}" for kind in ("weight", "bias")})
        for part, weight, bias in zip(("query", "key", "value"), fused["weight"].chunk(3, dim=1), fused["bias"].chunk(3), strict=True):
            state[f"blocks.{layer}.attention.{part}.weight"] = weight.T.contiguous()
            state[f"blocks.{layer}.attention.{part}.bias"] = bias.contiguous()
    return state


def _gpt2_out(config: TransformerConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    tensors = _rename(
        state,
        {
            "transformer.wte.weight": "embed.weight",
            "transformer.wpe.weight": "embed_positions.weight",
            "transformer.ln_f.weight": "norm.weight",
            "transformer.ln_f.bias": "norm.bias",
        }
        | ({} if config.tied else {"lm_head.weight": "head.weight"}),
    )
    for layer in range(config.layers):
        for ours, theirs in _GPT2.items():
            for kind in ("weight", "bias"):
                tensor, name = state[f"blocks.{layer}.{ours}.{kind}"], f"{theirs}.{kind}"
                tensors[f"transformer.h.{layer}.{name}"] = tensor.T.contiguous() if name.endswith(_GPT2_TRANSPOSED) else tensor
        parts = [[state[f"blocks.{layer}.attention.{part}.{kind}"] for part in ("query", "key", "value")] for kind in ("weight", "bias")]
        tensors[f"transformer.h.{layer}.attn.c_attn.weight"] = torch.cat(parts[0]).T.contiguous()
        tensors[f"transformer.h.{layer}.attn.c_attn.bias"] = torch.cat(parts[1])
    return tensors


def _expect(values: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str) -> None:
    given = values.get(key, default)
    if given not in allowed:
        raise ArtifactError(
            "config.json says {key} = {given}; our Transformer computes {allowed}. Load the model with the family hf_transformers",
            key=key,
            given=given,
            allowed=", ".join(allowed),
        )


def rope_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a `config.json` says of rotary positions, under its old (`rope_scaling`) or its new (`rope_parameters`) key.

    Raises:
        ArtifactError: something else than keys with values.
    """
    found: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        part = values.get(name) or {}
        if not isinstance(part, Mapping):
            raise ArtifactError("config.json is damaged ({error})", error=name)
        found |= part
    above = ("partial_rotary_factor", "original_max_position_embeddings")  # where some put them
    return found | {name: values[name] for name in above if values.get(name) is not None}
