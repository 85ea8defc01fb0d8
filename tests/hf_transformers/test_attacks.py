"""What strangers put into a model's folder: nothing of it runs, fetches or fills the memory, and the error says what is wrong."""

from __future__ import annotations

import json
import pickle
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from miaobi import api
from miaobi.core.errors import ArtifactError, MiaobiError
from miaobi.models.hf_transformers import checkpoint
from miaobi.models.hf_transformers.model import OpenModel
from miaobi.models.hf_transformers.weights import StoredWeights

pytest.importorskip("transformers")
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


class Bomb:
    """What a pickle does when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may so much as ask for a connection."""

    def refused(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def folder(hub_folder: Callable[..., Path], chat_tokenizer: Tokenizer) -> Path:
    """A small sound Llama."""
    found = hub_folder(chat_tokenizer)
    config = CONFIG | {"vocab_size": chat_tokenizer.get_vocab_size()}
    (found / "config.json").write_text(json.dumps(config))
    names = {"model.embed_tokens": (config["vocab_size"], 16), "lm_head": (config["vocab_size"], 16), "model.norm": (16,)}
    block = {f"self_attn.{part}_proj": (16, 16) for part in "qkvo"} | {f"mlp.{part}_proj": (16, 16) for part in ("gate", "up", "down")}
    block |= {"input_layernorm": (16,), "post_attention_layernorm": (16,)}
    shapes: dict[str, Any] = names | {f"model.layers.0.{name}": shape for name, shape in block.items()}
    save_file({f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}, found / "model.safetensors")
    return found


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_sound_one_loads(folder: Path) -> None:
    assert OpenModel.load(folder).context == 32


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "consolidated.00.pth", "model.ckpt"])
def test_pickled_weights_alone_are_refused_and_not_read(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    mark = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ArtifactError, match="safetensors"):
        api.load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja", "tokenizer_config.json"])
def test_a_pickle_under_another_name_does_not_run(folder: Path, tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)) + b"\xff")
    with pytest.raises(MiaobiError):
        api.load(folder).generate("Hello", max_tokens=2)
    assert not mark.exists()


def test_a_pickle_beside_sound_weights_is_passed_over(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert api.load(folder).generate("Hello", max_tokens=2)
    assert not mark.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Config"}},
        {"auto_map": {"AutoModelForCausalLM": "evil/repository--modeling_evil.Evil"}, "trust_remote_code": True},
        {"_attn_implementation_internal": "kernels-community/evil", "_attn_implementation": "evil/kernel"},
        {"attn_implementation": "evil/kernel", "_name_or_path": "evil/model", "custom_pipelines": {"x": {"impl": "evil.Evil"}}},
    ],
)
@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_code_that_the_configuration_names_is_never_run(folder: Path, tmp_path: Path, values: dict[str, Any], kind: str) -> None:
    mark = tmp_path / "ran"
    (folder / "modeling_evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Evil: pass\nclass Config: pass\n")
    if kind == "gpt_neox":
        _as_gpt_neox(folder)
    change(folder, **values)
    assert api.load(folder).generate("Hello", max_tokens=2)
    assert not mark.exists()


def _as_gpt_neox(folder: Path) -> None:
    """The same folder with a network that runs in the library."""
    import transformers

    config = transformers.GPTNeoXConfig(
        **{key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key != "model_type"}
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)


def test_an_unknown_architecture_says_what_to_do(folder: Path) -> None:
    change(folder, model_type="evil", auto_map={"AutoConfig": "modeling_evil.Config"})
    with pytest.raises(ArtifactError, match=r"evil.*never run.*upgrade"):
        api.load(folder)


GIANTS = {
    "hidden_size": 10**9,
    "intermediate_size": 10**12,
    "num_hidden_layers": 10**9,
    "num_attention_heads": 10**9,
    "vocab_size": 10**10,
    "max_position_embeddings": 10**12,
}


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
@pytest.mark.parametrize("key", GIANTS)
def test_giants_are_refused_before_memory_is_taken(folder: Path, key: str, kind: str) -> None:
    if kind == "gpt_neox":
        _as_gpt_neox(folder)
    change(folder, **{key: GIANTS[key]})
    begun = time.thread_time()
    with pytest.raises(ArtifactError, match=key):
        api.load(folder)
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize("values", [{"hidden_size": 8192, "head_dim": 8}, {"num_hidden_layers": 500}, {"intermediate_size": 100_000}])
def test_a_configuration_that_describes_more_than_is_stored_is_refused(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    with pytest.raises(ArtifactError, match=r"numbers|lack|fit"):
        api.load(folder)


def test_what_does_not_fit_into_the_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "free_bytes", lambda: 10_000)
    with pytest.raises(ArtifactError, match="memory"):
        api.load(folder)


@pytest.mark.parametrize(
    "values", [{"hidden_size": "x"}, {"num_attention_heads": 0}, {"hidden_size": -4}, {"rope_theta": "x"}, {"num_attention_heads": 3}]
)
def test_a_senseless_configuration_is_an_error(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    with pytest.raises(MiaobiError):
        api.load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000, '{"model_type": 3}', "\x00"])
def test_a_damaged_configuration_is_an_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(MiaobiError):
        OpenModel.load(folder)


def packed(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin: int, end: int, shape: list[int] | None = None, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape or [(end - begin) // 4], "data_offsets": [begin, end]}


DAMAGED = {
    "empty": b"",
    "short": b"abc",
    "a header beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "a header of all bits": b"\xff" * 64,
    "truncated": packed({"a": entry(0, 1024)}, b"\0" * 8),
    "overlapping": packed({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12),
    "with a hole": packed({"a": entry(0, 4), "b": entry(8, 12)}, b"\0" * 12),
    "backwards": packed({"a": entry(8, 0, [2])}, b"\0" * 8),
    "of another shape": packed({"a": entry(0, 8, [1000])}, b"\0" * 8),
    "with trailing bytes": packed({"a": entry(0, 4)}, b"\0" * 400),
    "a name twice": packed(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "an unknown kind": packed({"a": entry(0, 4, [1], "F99")}, b"\0" * 4),
    "no object": packed([1, 2]),
    "deep": packed(b"[" * 100_000),
    "overflowing": packed({"a": entry(0, 4, [2**40, 2**40])}, b"\0" * 4),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_weights_are_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is damaged"):
        StoredWeights([path])


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 4).half(),
        "brain": torch.randn(5).bfloat16(),
        "whole": torch.arange(6).view(2, 3),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(2.5),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    found = StoredWeights([tmp_path / "model.safetensors"])
    assert found.numel == 12 + 5 + 6 + 1
    for name, tensor in tensors.items():
        torch.testing.assert_close(found[name], tensor.float() if tensor.is_floating_point() else tensor)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin", 3, "missing.safetensors"])
def test_an_index_cannot_lead_out_of_the_folder(folder: Path, name: Any) -> None:
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(ArtifactError):
        api.load(folder)


def test_a_missing_tokenizer_says_what_to_do(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x00")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json.*tokenizer\.model.*save_pretrained"):
        api.load(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path, chat_tokenizer: Tokenizer) -> None:
    larger = Tokenizer.from_str(chat_tokenizer.to_str())
    larger.add_tokens([f"word{number}" for number in range(50)])
    larger.save(str(folder / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="not of the same model"):
        api.load(folder)


@pytest.mark.parametrize(
    "text", ["{}", '{"model": {"type": "Evil"}}', '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}}']
)
def test_a_damaged_tokenizer_is_an_error(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(MiaobiError):
        api.load(folder).generate("Hello", max_tokens=2)


def test_an_adapter_alone_says_that_it_is_one(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base"}')
    with pytest.raises(ArtifactError, match="adapter"):
        api.load(folder)


def test_an_adapter_beside_a_model_is_not_followed(folder: Path) -> None:
    _as_gpt_neox(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base", "peft_type": "LORA"}')
    assert api.load(folder).generate("Hello", max_tokens=2)


def test_weights_of_other_libraries_are_refused(folder: Path) -> None:
    change(folder, quantization_config={"quant_method": "gptq"})
    with pytest.raises(ArtifactError, match="quantised"):
        api.load(folder)


def test_a_template_that_attacks_is_an_error(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(ArtifactError, match="chat template"):
        api.load(folder).generate("Hello", max_tokens=2)


def test_numbers_that_are_none_end_the_answer(folder: Path) -> None:
    tensors = dict(StoredWeights([folder / "model.safetensors"]))
    tensors["model.norm.weight"] = torch.full((16,), np.nan)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MiaobiError):
        api.load(folder).generate("Hello", max_tokens=2)
