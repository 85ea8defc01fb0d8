"""The family's files: BERT's `config.json` with a section of our own, its tensors' names, and a `tokenizer.json` with a mask.

`transformers.AutoModelForMaskedLM` (and its kin for classes and tags) loads what is saved here, and what it saved is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.schema import validate
from miaobi.models.bert.codec import MaskCodec
from miaobi.models.bert.schema import Config
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.text_codec import NAME

CONFIG = "config.json"
OWN = "miaobi"
ARCHITECTURES = {"mask": "BertForMaskedLM", "classify": "BertForSequenceClassification", "tag": "BertForTokenClassification"}
SAME = {  # our words and theirs
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "context": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
}


def write_shape(codec: MaskCodec, lengths: Sequence[int], folder: Path) -> None:
    """Write `config.json` and `tokenizer.json`."""
    config = codec.config
    values: dict[str, Any] = {
        "model_type": "bert",
        "architectures": [ARCHITECTURES[config.task]],
        **{theirs: getattr(config, ours) for ours, theirs in SAME.items()},
        "intermediate_size": config.inner,
        "hidden_act": "gelu",
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "vocab_size": codec.tokens.vocab_size,
        "pad_token_id": codec.tokens.end,
        "tie_word_embeddings": True,
        "id2label": {str(number): label for number, label in enumerate(codec.labels)},
        "label2id": {label: number for number, label in enumerate(codec.labels)},
        OWN: {"masking": config.masking, "share": config.share, "field": config.field, "lengths": list(lengths)},
    }
    if not codec.labels:
        del values["id2label"], values["label2id"]
    write_text(folder / CONFIG, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    codec.tokens.save(folder)


def read_shape(folder: Path) -> tuple[MaskCodec, list[int]]:
    """The codec, with the configuration in it, and the lengths of training texts.

    Raises:
        ArtifactError: a file is missing or damaged, or describes another architecture than BERT's.
    """
    values = read_config(folder)
    if values.get("model_type") != "bert" or values.get("hidden_act", "gelu") != "gelu":
        raise ArtifactError("{folder} holds no BERT with the activation gelu, which is what this family computes", folder=folder)
    try:
        config, lengths = _config(values, folder)
        source = (folder / NAME).read_text(encoding="utf-8")
        labels = [label for _, label in sorted(values.get("id2label", {}).items(), key=lambda pair: int(pair[0]))]
        codec = MaskCodec(source, config, labels if config.task != "mask" else ())
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError("the configuration in {folder} cannot be read: {error}", folder=folder, error=error) from None
    if codec.tokens.vocab_size > int(values.get("vocab_size", 0)):
        raise ArtifactError("the tokenizer in {folder} has more tokens than the model; they belong to different models", folder=folder)
    return codec, lengths


def _config(values: Mapping[str, Any], folder: Path) -> tuple[Config, list[int]]:
    tasks = {architecture: task for task, architecture in ARCHITECTURES.items()}
    found = next((tasks[name] for name in values.get("architectures") or () if name in tasks), "mask")
    own = dict(values.get(OWN, {"masking": "fixed"}))
    lengths = [int(count) for count in own.pop("lengths", [])]
    shape = {ours: values[theirs] for ours, theirs in SAME.items() if theirs in values}
    return validate(Config, {"task": found, **shape, **own}, str(folder / CONFIG)), lengths
