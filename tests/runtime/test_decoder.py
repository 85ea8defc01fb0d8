"""The exported graphs against transformers: fp32 within 1e-4, int8 close, with unequal prompts, step by step and after moving rows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.speculate import can_verify
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Token, decode
from miaobi.models.common import decoder_graph
from miaobi.models.common.decoder_runtime import OnnxStepper

VOCABULARY = 97
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16}
PROMPTS = [[5, 6, 7, 8, 9], [1], [30, 31, 32]]
NAMES = ("gpt2", "llama", "llama3", "mistral", "narrow", "qwen2", "qwen3")


def create(name: str) -> Any:
    """A tiny transformers model: `narrow` has heads 8 wide, `llama3` scaled positions and biases, Qwen2 is tied and has YaRN."""
    import transformers as hf

    if name == "gpt2":
        return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=48, n_layer=2, n_head=3))
    if name == "llama3":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA, head_dim=16, rope_parameters=LLAMA3_SCALING, attention_bias=True, mlp_bias=True))
    if name == "mistral":
        return hf.MistralForCausalLM(hf.MistralConfig(**LLAMA, head_dim=32, sliding_window=None))
    if name == "qwen2":
        return hf.Qwen2ForCausalLM(hf.Qwen2Config(**LLAMA | {"hidden_size": 96}, tie_word_embeddings=True, rope_parameters=YARN))
    if name == "qwen3":
        return hf.Qwen3ForCausalLM(hf.Qwen3Config(**LLAMA, head_dim=16))
    return hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA, head_dim={"llama": 16, "narrow": 8}[name]))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`saved(name)`: (the torch model, its folder with both graphs), made once a session."""

    @functools.cache
    def make(name: str) -> tuple[Any, Path]:
        torch.manual_seed(0)
        model = create(name).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        decoder_graph.write(folder)
        return model, folder

    return make


def reference(model: Any, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """The logits of the token after each text, one text at a time."""
    with torch.no_grad():
        return np.stack([model(torch.tensor([list(text)])).logits[0, -1].float().numpy() for text in texts])


def random_tokens(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_fp32_agrees_with_transformers_at_every_step(saved: Any, name: str) -> None:
    model, folder = saved(name)
    stepper = OnnxStepper(folder, precision="fp32", threads=1)
    texts = [list(prompt) for prompt in PROMPTS]
    logits = stepper.start(PROMPTS)
    for step in range(8):
        np.testing.assert_allclose(logits, reference(model, texts), atol=1e-4, rtol=0)
        tokens = random_tokens(len(texts), step)
        texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
        logits = stepper.step(tokens)


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_close_and_mostly_chooses_the_same_token(saved: Any, name: str) -> None:
    model, folder = saved(name)
    stepper = OnnxStepper(folder, precision="int8", threads=1)
    texts = [random_tokens(12, seed) for seed in range(24)]
    got, want = stepper.start(texts), reference(model, texts)
    assert np.abs(got - want).max() < 0.06 * np.abs(want).max()
    assert (got.argmax(-1) == want.argmax(-1)).mean() >= 0.8


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_steps_equal_reading_the_whole_text(saved: Any, name: str, precision: Any) -> None:
    stepper = OnnxStepper(saved(name)[1], precision=precision, threads=1)
    text = random_tokens(20, 3)
    whole = stepper.start([text]).copy()
    stepper.start([text[:4]])
    for token in text[4:]:
        logits = stepper.step([token])
    np.testing.assert_allclose(logits, whole, atol=1e-5 if precision == "fp32" else 0.02 * np.abs(whole).max())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_rows_are_dropped_moved_and_copied(saved: Any, name: str) -> None:
    model, folder = saved(name)
    stepper = OnnxStepper(folder, precision="fp32", threads=1)
    texts = [list(prompt) for prompt in PROMPTS]
    stepper.start(texts)
    for rows in ([2, 0, 1], [1, 1, 0], [2, 0], [0], [0, 0, 0, 0], [3, 2, 1, 0]):
        stepper.reorder(rows)
        tokens = random_tokens(len(rows), len(rows))
        texts = [[*texts[row], token] for row, token in zip(rows, tokens, strict=True)]
        np.testing.assert_allclose(stepper.step(tokens), reference(model, texts), atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["gpt2", "narrow"])
def test_guesses_are_checked_in_one_pass_and_taken_back(saved: Any, name: str, precision: Any) -> None:
    stepper = OnnxStepper(saved(name)[1], precision=precision, threads=1)
    assert can_verify(stepper) == (precision == "fp32"), "where activations are rounded, a guessed text would not be the text"
    text = random_tokens(20, 5)
    stepper.start([text[:6]])
    wanted = [stepper.step([token])[0].copy() for token in text[6:]]
    stepper.start([text[:6]])
    stepper.verify([text[6], 3, 4, 5])
    stepper.forget(3)
    got = np.concatenate([stepper.verify(text[7:12]), stepper.step([text[12]]).copy(), stepper.verify(text[13:])])
    np.testing.assert_allclose(got, wanted[1:], atol=1e-5 if precision == "fp32" else 0.02 * np.abs(wanted).max())
    assert (got.argmax(-1) == np.argmax(wanted[1:], axis=-1)).all()


def test_a_guessed_text_is_the_text_that_is_not_guessed(saved: Any) -> None:
    for name, precision in (("gpt2", "fp32"), ("qwen2", "int8")):
        stepper = OnnxStepper(saved(name)[1], precision=precision, threads=1)  # type: ignore[arg-type]
        prompt = random_tokens(6, 1) * 3
        for options in (Sampling(temperature=0, max_tokens=40), Sampling(temperature=0.5, max_tokens=40)):
            plain = [event for event in decode(stepper, [prompt], options, end_tokens=(), seeds=[7]) if isinstance(event, Token)]
            guessed = [event for event in decode(stepper, [prompt], options, end_tokens=(), seeds=[7], draft=8) if isinstance(event, Token)]
            assert [event.token for event in guessed] == [event.token for event in plain]


def test_the_cache_grows_up_to_the_context_and_no_further(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miaobi.models.common.decoder_runtime.RESERVE", 2)
    model, folder = saved("qwen2")
    stepper = OnnxStepper(folder, precision="fp32", threads=1)
    assert stepper.context == 64
    text = random_tokens(3, 0)
    stepper.start([text])
    for token in random_tokens(61, 1):
        text.append(token)
        logits = stepper.step([token])
    np.testing.assert_allclose(logits, reference(model, [text]), atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match="65 tokens"):
        stepper.step([1])
    with pytest.raises(UsageError, match="65 tokens"):
        stepper.start([[1] * 65])


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_row_does_not_depend_on_the_batch_to_the_last_bit(saved: Any, name: str, precision: Any) -> None:
    stepper = OnnxStepper(saved(name)[1], precision=precision, threads=1)
    prompts = [random_tokens(length, length) for length in (9, 16, 3, 12, 5)]

    def run(rows: Sequence[int]) -> np.ndarray:
        passes = [stepper.start([prompts[row] for row in rows]).copy()]
        for step in range(3):
            passes.append(stepper.step([random_tokens(5, step)[row] for row in rows]).copy())
        return np.stack(passes, axis=1)  # (B, 4, V)

    together = run(range(5))
    for rows in ([0], [3], [4, 1], [2, 0, 3]):
        np.testing.assert_array_equal(run(rows), together[rows])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_two_steppers_on_one_session_do_not_disturb_each_other(saved: Any, precision: Any) -> None:
    first = OnnxStepper(saved("llama")[1], precision=precision, threads=1)
    second = first.fresh()
    assert isinstance(first, Stepper)
    first.start([[1, 2, 3]])
    second.start([[9, 8], [7, 6]])
    together = first.step([4]).copy(), second.step([5, 5]).copy()
    first.start([[1, 2, 3]])
    np.testing.assert_array_equal(first.step([4]), together[0])
    second.start([[9, 8], [7, 6]])
    np.testing.assert_array_equal(second.step([5, 5]), together[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_export(saved: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    model = saved("llama")[0]
    half = type(model)(model.config).eval()
    half.load_state_dict(model.state_dict())
    half.to(dtype).save_pretrained(tmp_path)
    decoder_graph.write(tmp_path, precisions=("fp32",))
    got = OnnxStepper(tmp_path, precision="auto", threads=1).start([[1, 2, 3]])
    np.testing.assert_allclose(got, reference(half.float(), [[1, 2, 3]]), atol=1e-4, rtol=0)
    assert np.abs(got - reference(model, [[1, 2, 3]])).max() > 0, "rounded weights give other logits"


def test_shards_are_read_through_their_index(saved: Any, tmp_path: Path) -> None:
    model, folder = saved("gpt2")
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    decoder_graph.write(tmp_path, precisions=("fp32",))
    assert (tmp_path / "onnx/model.onnx").read_bytes() == (folder / "onnx/model.onnx").read_bytes()


def test_large_weights_go_beside_the_graph(saved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = saved("qwen2")
    model.save_pretrained(tmp_path)
    monkeypatch.setattr("miaobi.models.common.decoder_file.INLINE_BYTES", 1000)
    monkeypatch.setattr("miaobi.models.common.decoder_file.LEAST_BYTES", 1000)
    for _ in range(2):  # writing again replaces
        decoder_graph.write(tmp_path)
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [
        "model.onnx", "model.onnx_data", "model_int8.onnx", "model_int8.onnx_data"
    ]  # fmt: skip
    data = tmp_path / "onnx/model.onnx_data"
    assert data.stat().st_size > (tmp_path / "onnx/model.onnx").stat().st_size
    got = OnnxStepper(tmp_path, precision="fp32", threads=1).start(PROMPTS)
    np.testing.assert_allclose(got, reference(model, PROMPTS), atol=1e-4, rtol=0)


def test_a_tied_embedding_is_stored_once(saved: Any) -> None:
    import onnx

    _, folder = saved("qwen2")
    graph = onnx.load(folder / "onnx/model_int8.onnx").graph
    size = sum(np.prod(tensor.dims) for tensor in graph.initializer if "quantised" in tensor.name)
    weights = sum(parameter.numel() for parameter in saved("qwen2")[0].parameters() if parameter.ndim == 2)
    assert size == pytest.approx(weights, rel=0.2)  # 80 is no multiple of the block: some padding


def test_errors_say_what_is_missing(saved: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        decoder_graph.write(tmp_path)
    (tmp_path / "config.json").write_text((saved("llama")[1] / "config.json").read_text())
    with pytest.raises(ArtifactError, match=r"no model\.safetensors"):
        decoder_graph.write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((saved("llama")[1] / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="damaged"):
        decoder_graph.write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((saved("gpt2")[1] / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"lack the tensor model\.embed_tokens"):
        decoder_graph.write(tmp_path)
    with pytest.raises(ArtifactError, match="miaobi export"):
        OnnxStepper(tmp_path)
    (tmp_path / "onnx").mkdir(exist_ok=True)
    (tmp_path / "onnx/model.onnx").write_bytes(b"\x08 no graph")
    with pytest.raises(ArtifactError, match="damaged"):
        OnnxStepper(tmp_path)


def test_blocks_round_to_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 70)).astype(np.float32)
    matrix[3] = 0
    values, scales = decoder_graph.quantise(matrix, block=32)
    assert values.shape == (7, 3, 32)
    restored = ((values.astype(np.float32) - 128) * scales[..., None]).reshape(7, 96)
    assert np.all(np.abs(restored[:, :70] - matrix) <= np.repeat(scales, 32, axis=1)[:, :70] * 0.5001)
    assert not restored[:, 70:].any()
    assert values.min() >= 1
