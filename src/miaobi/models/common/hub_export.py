"""A language model in the formats of others, each read back and compared: a Hugging Face folder, a GGUF file.

A file that nobody compared is a guess. The folder is loaded by `transformers` and has to give the same logits and the same token ids. The
GGUF file is read by `gguf_file`: each matrix has to be the model's up to what its form rounds away, and both have to expect the same next
tokens in what the model writes. How far a single logit of random tokens moves is told, and says little of a file that rounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.models.common.chat_template import SETTINGS
from miaobi.models.common.gguf_writer import write_gguf
from miaobi.models.common.hub_format import config_from_hub, weights_from_hub
from miaobi.models.common.transformer import TorchStepper, Transformer

SAMPLES = (
    "The quick brown fox jumps over the lazy dog. 3.14",
    "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
    "  two  spaces\t\n\nand lines",
)
LARGEST = 1e-4  # error of a logit, as a share of the largest, where nothing is rounded
ROUNDED = {"f32": 1e-6, "f16": 1e-3, "q8_0": 1e-2, "q4_1": 0.2, "q4_0": 0.2}  # error of a matrix, as a share of its length
COSTS = {"f32": 1e-4, "f16": 1e-3, "q8_0": 0.05, "q4_1": 1.0, "q4_0": 1.0}  # bits more a token, in texts of the model's own


def to_hub(model: Any, folder: Path) -> dict[str, float]:
    """Write the folder that `AutoModelForCausalLM` and `AutoTokenizer` load, and compare what they compute.

    Raises:
        ArtifactError: `transformers` computes other logits or other ids.
    """
    model.save(folder)
    if not (folder / SETTINGS).is_file():
        source = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_text(folder / SETTINGS, json.dumps(_settings(source, config), indent=2, ensure_ascii=False) + "\n")
    try:
        import transformers
    except ImportError:
        return {"logit_error": float("nan"), "same_tokens": float("nan")}
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = _ids(model)
    with torch.no_grad():
        error = _error(model.network(ids), theirs.eval()(ids).logits)
    same = _same_tokens(model, tokenizer)
    if not error < LARGEST or same < 1:
        raise ArtifactError(
            "transformers reads the exported folder otherwise: logits differ by {error:.2%}, and {same:.0%} of the texts have the same ids",
            error=error,
            same=same,
        )
    return {"logit_error": error, "same_tokens": same}


def to_gguf(model: Any, path: Path, *, form: str, name: str, licence: str = "") -> dict[str, float]:
    """Write the GGUF file, read it back, and compare its matrices, what it expects next, and its tokenizer.

    Raises:
        ArtifactError: they differ by more than the form explains; the file is removed.
    """
    from miaobi.models.common.gguf_file import TensorsOf, describe

    with TemporaryDirectory() as place:
        folder = Path(place)
        model.save(folder)
        write_gguf(folder, path, form=form, name=name, licence=licence)
    found = describe(path)
    config = config_from_hub(found.config)
    network = Transformer(config)
    network.load_state_dict(weights_from_hub(config, TensorsOf(path)))
    errors = _differences(model, network.to(model.network.embed.weight.device).eval())
    same = _same_words(model, found.tokenizer)
    if not (errors["weight_error"] < ROUNDED[form] and errors["bits_a_token"] < COSTS[form]) or same < 1:
        path.unlink()
        raise ArtifactError(
            "the GGUF file does not say what the model says: a matrix differs by {error:.2%}, a token costs {bits:.3f} bits more, and "
            "{same:.0%} of the texts have the same ids",
            error=errors["weight_error"],
            bits=errors["bits_a_token"],
            same=same,
        )
    return {**errors, "same_tokens": same, "bytes": float(path.stat().st_size)}


def _differences(model: Any, theirs: Transformer) -> dict[str, float]:
    """Of a network that was read back: its worst matrix, its worst logit on random tokens, and what a token costs it."""
    from miaobi.engine.graphs import excess_bits

    ours, ids = model.network.float().eval(), _ids(model)
    stored = theirs.state_dict()
    with torch.no_grad():
        worst = max(float((stored[name] - own).norm() / own.norm().clamp(min=1e-12)) for name, own in ours.state_dict().items())
        logit = _error(ours(ids), theirs(ids))
    steppers = (TorchStepper(network) for network in (ours, theirs))
    bits = excess_bits(*steppers, begin=model.codec.begin, context=ours.config.context)
    return {"weight_error": worst, "logit_error": logit, "bits_a_token": bits}


def _settings(source: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` of a bare `tokenizer.json`."""
    texts = {int(token["id"]): str(token["content"]) for token in source.get("added_tokens", ())}
    named = {f"{name}_token": texts.get(config.get(f"{name}_token_id", -1)) for name in ("bos", "eos", "pad")}
    unknown = source["model"].get("unk_token")
    named["unk_token"] = unknown if isinstance(unknown, str) else None
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.get("max_position_embeddings") or config.get("n_positions"),
        "clean_up_tokenization_spaces": False,
        **{key: text for key, text in named.items() if text},
    }


def _ids(model: Any) -> torch.Tensor:
    """Some ids that the network knows (1, T)."""
    table = model.network.embed.weight  # (V, W)
    return torch.from_numpy(np.random.default_rng(0).integers(0, len(table), (1, min(24, model.codec.context)))).to(table.device)


def _error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of a logit, as a share of the largest logit."""
    return float((ours.float() - theirs.float()).abs().max() / ours.float().abs().max())


def _same_tokens(model: Any, tokenizer: Any) -> float:
    """The share of texts, and of a conversation where there is a chat template, that get the same ids."""
    equal: list[bool] = [model.codec.ids(text) == list(tokenizer.encode(text, add_special_tokens=False)) for text in SAMPLES]
    chat = getattr(model.codec, "chat", None)
    if chat is not None:
        messages = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "你好"}]
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        equal.append(chat.prompt(messages) == list(theirs))
    return sum(equal) / len(equal)


def _same_words(model: Any, source: str) -> float:
    """The share of texts that the tokenizer in the GGUF file gives the same ids, characters that the vocabulary lacks aside."""
    from tokenizers import Tokenizer

    theirs, unknown = Tokenizer.from_str(source), model.codec.unknown
    texts = [text if unknown is None else _known(model.codec, text) for text in SAMPLES]
    equal: list[bool] = [list(theirs.encode(text, add_special_tokens=False).ids) == list(model.codec.ids(text)) for text in texts]
    return sum(equal) / len(equal)


def _known(codec: Any, text: str) -> str:
    """The text without what its vocabulary lacks: several such characters in a row are one token in llama.cpp, and several here."""
    return "".join(char for char in text if codec.unknown not in codec.ids(char))
