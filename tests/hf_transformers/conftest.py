"""Tiny checkpoints with random weights and real tokenizers, saved as `transformers` saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "Hello there, how are you today? I am fine, thank you.",
    "The quick brown fox jumps over the lazy dog and runs away.",
    "user assistant system question answer What is the capital of France? It is Paris.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (Path(__file__).parent / "chatml.jinja").read_text(encoding="utf-8")


def byte_level() -> Tokenizer:
    """A byte-level BPE as GPT-2's, with ChatML's marks and the unspecial `<think>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False), AddedToken("   ", special=False, normalized=False)])
    return tokenizer


def sentence_piece() -> Tokenizer:
    """A BPE over words that begin with ▁, as Llama's, whose marks are in its vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    alphabet = sorted(set("".join(TEXTS)) | set("[]/<>|_-INST"))
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def chat_tokenizer() -> Tokenizer:
    return byte_level()


@pytest.fixture(scope="session")
def llama_tokenizer() -> Tokenizer:
    return sentence_piece()


def write_tokenizer(folder: Path, tokenizer: Tokenizer, *, template: str | None = CHATML, **specials: str) -> None:
    """`tokenizer.json` and `tokenizer_config.json`."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **specials}
    if template is not None:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a folder with a tokenizer, to which a test adds a model."""

    def make(tokenizer: Tokenizer, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("hub")
        write_tokenizer(folder, tokenizer, **options)
        return folder

    return make
