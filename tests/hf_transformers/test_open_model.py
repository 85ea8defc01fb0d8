"""Open models against the library that made them: the same words, likelihoods and files, whatever the architecture."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from miaobi import api
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.types import Done, Record, Request, Turn
from miaobi.engine.generate import collect, run
from miaobi.models.common.transformer import Transformer
from miaobi.models.hf_transformers import checkpoint
from miaobi.models.hf_transformers.model import OpenModel
from miaobi.models.hf_transformers.network import Foreign
from miaobi.models.hf_transformers.schema import Options

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
GROUPED = SMALL | {"num_key_value_heads": 2}
OURS = {
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": None},
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
THEIRS = {
    "mistral": GROUPED | {"sliding_window": 16},
    "gpt2": OURS["gpt2"] | {"scale_attn_by_inverse_layer_idx": True},
    "gpt_neox": SMALL,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mixtral": GROUPED | {"num_local_experts": 2},
    "gemma2": GROUPED | {"head_dim": 8},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2},
}
Folders = Callable[..., Path]


def made(folder: Path, tokenizer: Tokenizer, kind: str, values: dict[str, Any], auto: str = "AutoModelForCausalLM") -> Any:
    """A network of the library with lively random weights, saved in the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    marks = {"vocab_size": tokenizer.get_vocab_size(), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    network = getattr(transformers, auto).from_config(transformers.CONFIG_MAPPING[kind](**(marks | values))).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder)
    return network


def continued(network: Any, ids: list[int], count: int) -> list[int]:
    """What the library itself says, greedily."""
    found = network.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, num_beams=1)[0, len(ids) :].tolist()
    return [number for number in found if number != 2]


CASES = [(Transformer, kind, values) for kind, values in OURS.items()] + [(Foreign, kind, values) for kind, values in THEIRS.items()]


@pytest.mark.parametrize(("runs_in", "kind", "values"), CASES, ids=[f"{kind}-{place.__name__}" for place, kind, _ in CASES])
def test_it_says_what_transformers_says(
    hub_folder: Folders, chat_tokenizer: Tokenizer, runs_in: type, kind: str, values: dict[str, Any]
) -> None:
    folder = hub_folder(chat_tokenizer)
    theirs = made(folder, chat_tokenizer, kind, values)
    ours = OpenModel.load(folder)
    assert isinstance(ours.network, runs_in)
    raw = ours.codec.plain("Hello there")
    found = collect(ours, Request.of("Hello there", raw=True, temperature=0, max_tokens=20))[0].text
    assert found == chat_tokenizer.decode(continued(theirs, raw, 20))
    several = collect(ours, Request.of("How are you?", n=3, max_tokens=6, seed=1))
    assert several[0].text == collect(ours, Request.of("How are you?", max_tokens=6, seed=1))[0].text, "rows do not see one another"


def test_scores_are_the_librarys_likelihoods(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    for kind, values in (("llama", GROUPED), ("gpt_neox", SMALL)):
        folder = hub_folder(chat_tokenizer)
        theirs = made(folder, chat_tokenizer, kind, values)
        text = "The quick brown fox"
        ids = torch.tensor([[0, *chat_tokenizer.encode(text).ids, 2]])
        with torch.no_grad():
            nats = theirs(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        [score] = OpenModel.load(folder).score([Record(id="1", parts=(text,))])
        assert score.bits == pytest.approx(nats / math.log(2), rel=1e-4)
        assert score.tokens == ids.shape[1] - 1


def test_weights_in_sixteen_bits_and_in_shards(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    theirs = made(folder, chat_tokenizer, "llama", GROUPED)
    (folder / "model.safetensors").unlink()
    theirs.to(torch.bfloat16).save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    ours = OpenModel.load(folder).network
    assert isinstance(ours, Transformer)
    assert ours.embed.weight.dtype == torch.float32
    torch.testing.assert_close(ours.embed.weight.detach(), theirs.get_input_embeddings().weight.detach().float())


def test_a_conversation_goes_through_the_template(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    theirs = made(folder, chat_tokenizer, "llama", GROUPED)
    turns = (
        Turn(role="system", parts=("Be brief.",)),
        Turn(role="user", parts=("Hello",)),
        Turn(role="assistant", parts=("Hi!",)),
        Turn(role="user", parts=("How are you?",)),
    )
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": turn.role, "content": turn.parts[0]} for turn in turns]
    ids = reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ours = OpenModel.load(folder)
    [content] = collect(ours, Request(turns=turns, options={"temperature": 0, "max_tokens": 12}))
    assert content.text == chat_tokenizer.decode(continued(theirs, ids, 12))
    assert ours.codec.ends == (2,)


def test_without_a_template_there_is_no_conversation(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer, template=None)
    made(folder, chat_tokenizer, "llama", GROUPED)
    ours = OpenModel.load(folder)
    assert collect(ours, Request.of("Hello", max_tokens=3))
    for request in (
        Request(turns=(Turn(role="system", parts=("x",)), Turn(role="user", parts=("y",)))),
        Request.of("Hello", tools=[{"name": "f"}]),
    ):
        with pytest.raises(UsageError, match="chat template"):
            collect(ours, request)


def test_a_prompt_longer_than_the_context(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "llama", GROUPED)
    ours = OpenModel.load(folder)
    old = [Turn(role="user", parts=("床前明月光 " * 12,)), Turn(role="assistant", parts=("疑是地上霜 " * 12,))]
    turns = (Turn(role="system", parts=("Be kind.",)), *old, Turn(role="user", parts=("Hello",)))
    with pytest.raises(UsageError, match="window=slide"):
        collect(ours, Request(turns=turns))
    slid = collect(ours, Request(turns=turns, options={"window": "slide", "max_tokens": 5}, seed=1))
    short = collect(ours, Request(turns=(turns[0], turns[-1]), options={"window": "slide", "max_tokens": 5}, seed=1))
    assert slid[0].text == short[0].text, "the oldest turns are left out, the system's words stay"
    for more in ({}, {"raw": True}):
        long = Request.of("Hello " * 500 + "end", window="slide", max_tokens=5, **more)
        (done,) = (chunk for chunk in run(ours, long) if isinstance(chunk, Done))
        assert ours.context - 8 <= done.usage.prompt <= ours.context - 5, "as much is read as there is room for"
    assert "end" in ours.codec.text(ours.codec.request(long, Options(window="slide", raw=True)))


def test_a_long_conversation_slides_to_the_turns_that_fit(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "llama", GROUPED)
    codec = OpenModel.load(folder).codec
    turns = [Turn(role=role, parts=(f"{role} {number}",)) for number in range(40) for role in ("user", "assistant")]
    request = Request(turns=(Turn(role="system", parts=("Be kind.",)), *turns, Turn(role="user", parts=("Hello",))))
    ids = codec.request(request, Options(window="slide", max_tokens=5))
    text = codec.text(ids)
    numbers = [int(found) for found in re.findall(r"user (\d+)", text)]
    assert numbers == list(range(numbers[0], 40)), "nothing is missing between"
    assert "Be kind." in text
    assert text.rstrip().endswith("assistant")
    one_more = request.turns[:1] + request.turns[1 + 2 * (numbers[0] - 1) :]
    assert len(ids) <= codec.reads - 5 < len(codec.request(Request(turns=one_more), Options()))


def test_gigantic_max_tokens_end_with_the_context(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "llama", GROUPED)
    ours = OpenModel.load(folder)
    done = [chunk for chunk in run(ours, Request.of("Hello", max_tokens=65_536, min_tokens=60_000)) if isinstance(chunk, Done)]
    assert done[0].reason == "length"
    assert done[0].usage.prompt + done[0].usage.generated == 128
    with pytest.raises(UsageError, match="max_tokens"):
        collect(ours, Request.of("Hello", max_tokens=10**12))


def test_answers_follow_a_schema(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    pytest.importorskip("llguidance")
    for kind, values in (("llama", GROUPED), ("gpt_neox", SMALL)):
        folder = hub_folder(chat_tokenizer)
        made(folder, chat_tokenizer, kind, values)
        schema = {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99}},
            "required": ["a"],
            "additionalProperties": False,
        }
        [content] = collect(OpenModel.load(folder), Request.of("Hello", json_schema=schema, max_tokens=40, seed=1))
        assert isinstance(json.loads(content.text)["a"], int)


@pytest.mark.parametrize(("kind", "values"), [("llama", GROUPED), ("gpt_neox", SMALL)])
def test_what_is_saved_is_loaded_by_transformers_and_by_us(
    hub_folder: Folders, chat_tokenizer: Tokenizer, tmp_path: Path, kind: str, values: dict[str, Any]
) -> None:
    folder = hub_folder(chat_tokenizer, eos_token="<|im_end|>")
    made(folder, chat_tokenizer, kind, values)
    ours = OpenModel.load(folder)
    request = Request.of("Hello", temperature=0, max_tokens=8)
    said = collect(ours, request)[0].text
    ours.save(tmp_path)
    assert collect(OpenModel.load(tmp_path), request)[0].text == said
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = reader.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_dict=False)
    assert chat_tokenizer.decode(continued(theirs, ids, 8)) == said
    assert reader.eos_token == "<|im_end|>"


def test_a_plain_folder_is_loaded_labelled_and_exported(hub_folder: Folders, chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "llama", GROUPED)
    loaded = api.load(folder)
    assert loaded.card.runtime == "torch"
    [content] = loaded.generate("Hello", temperature=0, max_tokens=8, seed=1)
    assert (content.label.family, content.label.model) == ("hf_transformers", folder.name)
    assert content.label.source == loaded.artifact.sha256
    exported = tmp_path / "exported"
    errors = api.export(folder, formats=["fp32"], out=exported)
    assert errors["fp32"]["logit_error"] < 1e-3
    light = api.load(exported)
    assert light.card.runtime == "onnx"
    assert light.generate("Hello", temperature=0, max_tokens=8, seed=1)[0].text == content.text


def test_an_architecture_of_the_library_has_no_graph(hub_folder: Folders, chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "gpt_neox", SMALL)
    with pytest.raises(UsageError, match="gpt_neox"):
        api.export(folder, out=tmp_path / "out")


@pytest.mark.parametrize(("kind", "first"), [("t5", None), ("bart", None), ("bart", 7)])
def test_other_texts_of_texts(hub_folder: Folders, chat_tokenizer: Tokenizer, kind: str, first: int | None) -> None:
    shape: dict[str, Any] = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": 0}
    if kind == "bart":
        names = ("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads")
        shape = {"d_model": 32, **dict.fromkeys(names, 2), "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 128}
        shape |= {"decoder_start_token_id": 2, "forced_eos_token_id": None}
    folder = hub_folder(chat_tokenizer, template=None)
    theirs = made(folder, chat_tokenizer, kind, shape, "AutoModelForSeq2SeqLM")
    theirs.generation_config.forced_eos_token_id = None
    theirs.generation_config.forced_bos_token_id = first
    theirs.generation_config.save_pretrained(folder)
    ids = chat_tokenizer.encode("Hello there").ids
    expected = theirs.generate(torch.tensor([ids]), max_new_tokens=13, do_sample=False, num_beams=1)[0, 1:].tolist()
    assert first is None or expected[0] == first
    expected = expected[1:] if first is not None else expected[:-1]
    ours = OpenModel.load(folder)
    assert collect(ours, Request.of("Hello there", temperature=0, max_tokens=12))[0].text == chat_tokenizer.decode(expected)
    assert len(collect(ours, Request.of("Hello there", n=3, max_tokens=4, seed=1))) == 3
    with pytest.raises(UsageError, match="one text"):
        collect(ours, Request(turns=(Turn(role="system", parts=("x",)), Turn(role="user", parts=("y",)))))
    with pytest.raises(UsageError, match="likelihood"):
        list(ours.score([Record(id="1", parts=("a",))]))


def test_gaps_are_filled_and_priced(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    tokenizer = Tokenizer.from_str(chat_tokenizer.to_str())
    tokenizer.add_special_tokens(["[MASK]"])
    folder = hub_folder(tokenizer, template=None)
    theirs = made(folder, tokenizer, "bert", SMALL, "AutoModelForMaskedLM")
    ours = OpenModel.load(folder)
    mask = tokenizer.token_to_id("[MASK]")
    ids = [*tokenizer.encode("The quick ").ids, mask, *tokenizer.encode(" fox").ids]
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0, ids.index(mask)]
    logits[[0, 1, mask]] = -math.inf  # marks show no text
    expected = [int(logits.argmax()) if number == mask else number for number in ids]
    assert collect(ours, Request.of("The quick [MASK] fox", temperature=0))[0].text == tokenizer.decode(expected)
    longer = collect(ours, Request.of("The quick", max_tokens=3, n=2, seed=1))
    assert [content.text.startswith("The quick") for content in longer] == [True, True]
    text = "The fox"
    ids, total = tokenizer.encode(text).ids, 0.0
    for place, number in enumerate(ids):
        with torch.no_grad():
            row = theirs(torch.tensor([[mask if here == place else token for here, token in enumerate(ids)]])).logits[0, place]
        total -= torch.log_softmax(row, dim=-1)[number].item() / math.log(2)
    [score] = ours.score([Record(id="1", parts=(text,))])
    assert score.bits == pytest.approx(total, rel=1e-4)


def test_an_encoder_fills_gaps_whatever_its_configuration_forgets(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    """Of BERT transformers also builds a decoder, which nobody trained."""
    tokenizer = Tokenizer.from_str(chat_tokenizer.to_str())
    tokenizer.add_special_tokens(["[MASK]"])
    folder = hub_folder(tokenizer, template=None)
    made(folder, tokenizer, "bert", SMALL, "AutoModelForMaskedLM")
    config = json.loads((folder / "config.json").read_text())
    for architectures, kind in (([], "masked"), (["BertForPreTraining"], "masked"), (["BertLMHeadModel"], "causal")):
        (folder / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
        assert checkpoint.read(folder).kind == kind
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [], "is_decoder": True}))
    assert checkpoint.read(folder).kind == "causal"


def test_old_tokenizer_files_are_read(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    """vocab.json and merges.txt, as GPT-2 came."""
    folder = hub_folder(chat_tokenizer, template=None)
    made(folder, chat_tokenizer, "gpt2", OURS["gpt2"])
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    plain = {token: number for token, number in model["vocab"].items() if number < 400}
    (folder / "vocab.json").write_text(json.dumps(plain))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]))
    (folder / "tokenizer.json").unlink()
    ours = OpenModel.load(folder)
    assert ours.codec.ids("Hello there, 床前") == chat_tokenizer.encode("Hello there, 床前").ids


def test_a_conversation_is_learned_where_the_assistant_speaks(hub_folder: Folders, chat_tokenizer: Tokenizer) -> None:
    folder = hub_folder(chat_tokenizer)
    made(folder, chat_tokenizer, "llama", GROUPED)
    ours = OpenModel.load(folder)
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "I am fine."}]
    batch = ours.codec.collate([Record(id="1", parts=("Hello\nI am fine.",), meta={"messages": messages})])
    learned = batch["tokens"][:, 1:][batch["weights"]].tolist()
    assert chat_tokenizer.decode(learned, skip_special_tokens=False) == "I am fine.<|im_end|>"
    ids, start = ours.answered(Request.of("Hello"), "I am fine.")
    assert ids[:start] == ours.codec.request(Request.of("Hello"), Options())
    assert ours.loss(batch, "main").count == len(learned)
    with pytest.raises(MiaobiError):
        ours.codec.collate([Record(id="1", parts=("x",), meta={"messages": [{"role": "user"}, {"role": "assistant"}]})])
