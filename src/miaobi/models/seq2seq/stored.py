"""The family's files: mBART's `config.json` with a section of our own, its tensors' names, and `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.text_codec import NAME, TextCodec
from miaobi.models.seq2seq.codec import PairCodec
from miaobi.models.seq2seq.schema import Config

CONFIG, OWN = "config.json", "miaobi"
SAME = {  # our words and theirs
    "width": ("d_model",),
    "layers": ("encoder_layers", "decoder_layers"),
    "heads": ("encoder_attention_heads", "decoder_attention_heads"),
    "hidden": ("encoder_ffn_dim", "decoder_ffn_dim"),
    "context": ("max_position_embeddings",),
    "dropout": ("dropout",),
}


def write_shape(codec: PairCodec, folder: Path) -> None:
    """Write `config.json` and `tokenizer.json`."""
    config, tokens = codec.config, codec.tokens
    shape = config.model_dump() | {"hidden": config.inner}
    values: dict[str, Any] = {
        "model_type": "mbart",
        "architectures": ["MBartForConditionalGeneration"],
        **{name: shape[ours] for ours, theirs in SAME.items() for name in theirs},
        "activation_function": "gelu",
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "vocab_size": tokens.vocab_size,
        "bos_token_id": tokens.begin,
        "eos_token_id": tokens.end,
        "pad_token_id": tokens.end,
        "decoder_start_token_id": tokens.begin,
        "forced_eos_token_id": None,
        OWN: {name: shape[name] for name in ("source", "target", "label_smoothing")},
    }
    write_text(folder / CONFIG, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    tokens.save(folder)


def read_shape(folder: Path) -> PairCodec:
    """The codec, with the configuration in it.

    Raises:
        ArtifactError: a file is missing or damaged, or another architecture than mBART's.
    """
    values = read_config(folder)
    if values.get("model_type") != "mbart" or values.get("activation_function", "gelu") != "gelu" or values.get("scale_embedding"):
        raise ArtifactError("{folder} holds no mBART with the activation gelu, which is what this family computes", folder=folder)
    uneven = [ours for ours, theirs in SAME.items() if len({values.get(name) for name in theirs}) > 1]
    if uneven:
        raise ArtifactError(
            "{folder}: encoder and decoder have different {names}, which this family does not compute",
            folder=folder,
            names=", ".join(uneven),
        )
    try:
        shape = {ours: values[theirs[0]] for ours, theirs in SAME.items()}
        config = validate(Config, {**shape, **values.get(OWN, {})}, str(folder / CONFIG))
        tokens = TextCodec.load(folder / NAME, context=config.context, begin=values["decoder_start_token_id"], end=values["eos_token_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the configuration in {folder} cannot be read: {error}", folder=folder, error=error) from None
    return PairCodec(tokens, config)
