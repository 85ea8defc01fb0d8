"""GGUF files against the Hugging Face folders that they were made of: the same tokens, the same numbers, the same words."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from miaobi import api
from miaobi.core.errors import ArtifactError, MiaobiError
from miaobi.core.types import Request
from miaobi.engine.generate import collect
from miaobi.models.common import gguf_file
from miaobi.models.hf_transformers.model import OpenModel
from miaobi.models.hf_transformers.network import Foreign
from miaobi.models.hf_transformers.weights import StoredWeights
from miaobi.serve.pool.memory import context_of

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
CHATML = (Path(__file__).parent / "chatml.jinja").read_text(encoding="utf-8")
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
KINDS: dict[str, dict[str, Any]] = {
    "llama": SHAPE | {"num_key_value_heads": 2, "rope_theta": 500_000.0},
    "qwen2": SHAPE | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": SHAPE | {"num_key_value_heads": 2, "head_dim": 32},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
TABLES = (gguf_file._LLAMA, gguf_file._LLAMA_TOP, gguf_file._GPT2, gguf_file._GPT2_TOP)
NAMES = {theirs: ours for table in TABLES for ours, theirs in table.items()}
Folders = Callable[..., Path]


def llama_cpp_name(name: str) -> str | None:
    """What llama.cpp calls a tensor of Hugging Face's."""
    stem, _, part = name.removeprefix("transformer.").rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{part}"
    for prefix in ("model.layers.", "h."):
        place, _, inner = stem.removeprefix(prefix).partition(".")
        if stem.startswith(prefix) and inner in NAMES:
            return f"blk.{place}.{NAMES[inner]}.{part}"
    return None


def as_llama_cpp(name: str, values: np.ndarray, kind: str, heads: int, key_heads: int) -> np.ndarray:
    """As its converter stores it: Llama's queries and keys in pairs of neighbours (`permute` there), GPT-2's matrices turned over."""
    if kind == "llama" and ("attn_q." in name or "attn_k." in name):
        count = heads if "attn_q." in name else key_heads
        return values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    if kind == "gpt2" and any(part in name for part in ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")):
        return np.ascontiguousarray(values.T)
    return values


def convert(folder: Path, target: Path, tokenizer: Tokenizer, *, stored: str = "F32", pre: str = "gpt-2", **more: Any) -> Path:
    """Write a GGUF file of a folder with the library."""
    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    writer = gguf.GGUFWriter(str(target), kind)
    heads = config.get("num_attention_heads") or config["n_head"]
    key_heads = config.get("num_key_value_heads") or heads
    writer.add_context_length(128)
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(config.get("intermediate_size", 256))
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    if kind == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
        writer.add_key_length(config.get("head_dim") or 16)
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    added = {token["id"]: token["special"] for token in json.loads(tokenizer.to_str())["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([{True: 3, False: 4}[added[number]] if number in added else 1 for _, number in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    for key, value in more.items():
        writer.add_string(key.replace("__", "."), value)
    for name, tensor in StoredWeights([folder / "model.safetensors"]).items():
        new = llama_cpp_name(name)
        if new is None:
            continue
        values = as_llama_cpp(new, tensor.numpy(), kind, heads, key_heads)
        if stored == "F32" or values.ndim == 1:
            writer.add_tensor(new, np.ascontiguousarray(values, dtype=np.float32))
        else:
            number = gguf.GGMLQuantizationType[stored]
            writer.add_tensor(new, gguf.quants.quantize(np.ascontiguousarray(values, dtype=np.float32), number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.fixture
def both(hub_folder: Folders, chat_tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """A folder with lively weights, and the GGUF file of it."""

    def make(kind: str, **options: Any) -> tuple[Path, Path]:
        folder = hub_folder(chat_tokenizer)
        torch.set_num_threads(1)
        torch.manual_seed(0)
        marks = {"vocab_size": chat_tokenizer.get_vocab_size(), "bos_token_id": 0, "eos_token_id": 2}
        network = transformers.AutoModelForCausalLM.from_config(transformers.CONFIG_MAPPING[kind](**(marks | KINDS[kind])))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2, mean=0.5 if parameter.ndim == 1 else 0.0)
        network.save_pretrained(folder)
        return folder, convert(folder, tmp_path / f"{kind}.gguf", chat_tokenizer, **options)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_the_folder(both: Callable[..., tuple[Path, Path]], kind: str) -> None:
    folder, file = both(kind)
    plain, read = OpenModel.load(folder), OpenModel.load(file)
    assert not isinstance(read.network, Foreign)
    for (name, ours), theirs in zip(read.network.named_parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    request = Request.of("Hello there", temperature=0, max_tokens=10)
    assert collect(read, request)[0].text == collect(plain, request)[0].text
    assert (read.codec.ends, read.context) == (plain.codec.ends, plain.context)


@pytest.mark.parametrize(("stored", "most"), [("F16", 1e-3), ("BF16", 1e-2), ("Q8_0", 0.01), ("Q5_1", 0.05), ("Q4_0", 0.12), ("Q4_1", 0.1)])
def test_quantised_blocks_become_nearly_the_same_numbers(both: Callable[..., tuple[Path, Path]], stored: str, most: float) -> None:
    folder, file = both("llama", stored=stored)
    tensors, plain = gguf_file.TensorsOf(file), StoredWeights([folder / "model.safetensors"])
    assert set(tensors) == set(plain)
    for name, tensor in tensors.items():
        assert tensor.shape == plain[name].shape
        assert float((tensor - plain[name]).norm() / plain[name].norm()) < most, name
    assert tensors.numel == plain.numel


def test_the_tokens_are_those_of_the_folder(both: Callable[..., tuple[Path, Path]], chat_tokenizer: Tokenizer) -> None:
    _, file = both("llama")
    found = Tokenizer.from_str(gguf_file.describe(file).tokenizer)
    for text in ("Hello there, 12345!", "  two   spaces\n\nand lines ", "床前明月光", "<|im_start|>user\n<think>", "don't I'LL"):
        assert found.encode(text).ids == chat_tokenizer.encode(text).ids
        assert found.decode(found.encode(text).ids) == chat_tokenizer.decode(chat_tokenizer.encode(text).ids)


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2"])
def test_words_are_cut_by_the_named_rule(both: Callable[..., tuple[Path, Path]], pre: str) -> None:
    _, file = both("llama", pre=pre)
    found = Tokenizer.from_str(gguf_file.describe(file).tokenizer)
    pieces = [text for text, _ in found.pre_tokenizer.pre_tokenize_str("In 12345 we'll\n\n go")]
    numbers = {"smollm": ["1", "2", "3", "4", "5"], "llama-bpe": ["123", "45"], "qwen2": ["1", "2", "3", "4", "5"]}[pre]
    assert [piece.lstrip("Ġ") for piece in pieces if piece.strip("Ġ").isdigit()] == numbers
    assert found.decode(found.encode("In 12345 we'll\n\n go").ids) == "In 12345 we'll\n\n go"


def test_pieces_merge_by_their_scores(llama_tokenizer: Tokenizer) -> None:
    """SentencePiece's kind stores no merges: they follow from the scores, which are the ranks here."""
    from miaobi.models.common import gguf_tokenizer

    source = json.loads(llama_tokenizer.to_str())
    tokens = [token for token, _ in sorted(source["model"]["vocab"].items(), key=lambda item: item[1])]
    values = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    found = Tokenizer.from_str(gguf_tokenizer.build(values))
    text = "Hello there, how are you today?"
    assert found.encode(text, add_special_tokens=False).tokens == llama_tokenizer.encode(text, add_special_tokens=False).tokens
    assert found.encode(text).ids[0] == 1, "such models begin a text with <s>"
    assert found.decode(found.encode(text).ids) == text


def test_stretched_positions_of_llama_3(both: Callable[..., tuple[Path, Path]], tmp_path: Path, chat_tokenizer: Tokenizer) -> None:
    """The file stores what the rule gives; the rule is found again, and another one refused."""
    from miaobi.models.common import rotary

    folder, _ = both("llama")
    rule = {"rope_type": "llama3", "factor": 8.0, **gguf_file.LLAMA3}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_theta": 500_000.0, **rule}}))
    plain = OpenModel.load(folder)
    assert not isinstance(plain.network, Foreign)
    unscaled = 500_000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = unscaled.numpy() / rotary.frequencies(plain.network.config)
    for values, sound in ((factors, True), (factors * np.linspace(1, 3, 8), False)):
        file = convert(folder, tmp_path / "l3.gguf", chat_tokenizer)
        _append_tensor(file, "rope_freqs.weight", values.astype(np.float32))
        if sound:
            torch.testing.assert_close(OpenModel.load(file).network.frequencies, plain.network.frequencies)
        else:
            with pytest.raises(ArtifactError, match="stretched"):
                OpenModel.load(file)


@pytest.mark.parametrize(
    "rule", [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}], ids=str
)
def test_stretched_positions_that_a_file_tells(both: Callable[..., tuple[Path, Path]], tmp_path: Path, rule: dict[str, Any]) -> None:
    folder, _ = both("llama")
    rule = {"rope_theta": 500_000.0, "original_max_position_embeddings": 128, **rule}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rule}))
    model = OpenModel.load(folder)
    assert not isinstance(model.network, Foreign)
    assert model.context == model.codec.reads == (512 if rule["rope_type"] == "yarn" else 128)
    assert model.to_gguf(tmp_path / "long.gguf", form="f32", name="long")["logit_error"] < 1e-5
    read = OpenModel.load(tmp_path / "long.gguf")
    assert (read.context, read.network.strength) == (model.context, pytest.approx(model.network.strength))
    torch.testing.assert_close(read.network.frequencies, model.network.frequencies)


def _append_tensor(file: Path, name: str, values: np.ndarray) -> None:
    """The file again with one tensor more."""
    reader = gguf.GGUFReader(str(file))
    writer = gguf.GGUFWriter(str(file) + ".new", "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    Path(str(file) + ".new").replace(file)


def test_a_file_is_a_model_by_its_path(both: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    _, file = both("qwen2")
    loaded = api.load(str(file))
    [content] = loaded.generate("Hello", temperature=0, max_tokens=6, seed=1)
    assert (content.label.family, content.label.model) == ("hf_transformers", "qwen2")
    assert context_of(file) == 128
    alone = tmp_path / "alone"
    alone.mkdir()
    file.rename(alone / file.name)
    assert context_of(alone) == 128
    assert api.load(alone).generate("Hello", temperature=0, max_tokens=6, seed=1)[0].text == content.text
    errors = api.export(alone / file.name, formats=["fp32"], out=tmp_path / "exported")
    assert errors["fp32"]["logit_error"] < 1e-3
    light = api.load(tmp_path / "exported")
    assert light.card.runtime == "onnx"
    assert light.generate("Hello", temperature=0, max_tokens=6, seed=1)[0].text == content.text


@pytest.mark.parametrize("architecture", ["mamba", "", "falcon"])
def test_other_architectures_say_so(tmp_path: Path, architecture: str) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "x.gguf"), architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ArtifactError, match="llama"):
        api.load(tmp_path / "x.gguf")


def header(version: int = 3, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


DAMAGED = {
    "empty": b"",
    "another file": b"PK\x03\x04" + b"\0" * 100,
    "a pickle": b"\x80\x04cos\nsystem\n(Vtrue\ntR.",
    "only the sign": b"GGUF",
    "of the future": header(version=99),
    "countless keys": header(keys=2**60),
    "countless tensors": header(tensors=2**62),
    "a text beyond the file": header(keys=1) + text(b"abc", 2**50),
    "a list beyond the file": header(keys=1) + text(b"a") + struct.pack("<IIQ", 9, 4, 2**58),
    "a list of texts beyond the file": header(keys=1) + text(b"a") + struct.pack("<IIQ", 9, 8, 2**58),
    "an unknown kind": header(keys=1) + text(b"a") + struct.pack("<I", 77),
    "lists in lists": header(keys=1) + text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 2000,
    "a tensor of many dimensions": header(tensors=1) + text(b"a") + struct.pack("<I", 2**31) + b"\0" * 64,
    "a tensor beyond the file": header(tensors=1) + text(b"a") + struct.pack("<IQIQ", 1, 2**40, 0, 0),
    "a tensor before the file": header(tensors=1) + text(b"a") + struct.pack("<IQIQ", 1, 8, 0, 2**64 - 64) + b"\0" * 64,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"x\.gguf is damaged"):
        api.load(path)


def test_a_file_cut_anywhere_is_an_error(both: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    _, file = both("llama")
    data = file.read_bytes()
    for share in range(1, 20):
        path = tmp_path / "cut.gguf"
        path.write_bytes(data[: len(data) * share // 20])
        with pytest.raises(MiaobiError):
            OpenModel.load(path)


def test_several_files_in_a_folder_have_to_be_named(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(MiaobiError):
        api.load(tmp_path)
