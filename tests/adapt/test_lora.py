"""Additions of low rank: what they compute, what they leave alone, and that PEFT computes the same from our folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from miaobi import adapting, api
from miaobi.core.errors import ArtifactError, MiaobiError, UsageError
from miaobi.engine import adapt, lora
from miaobi.models.common.hub_format import weights_to_hub
from miaobi.models.common.language import new_network, save_network
from miaobi.models.common.transformer import Transformer
from miaobi.models.common.transformer_config import TransformerConfig

SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "key_heads": 2,
    "head_width": 8,
    "hidden": 24,
    "context": 32,
}
GPT2 = {
    **SHAPE,
    "norm": "layer",
    "feed_forward": "gelu",
    "positions": "learned",
    "attention_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "hidden": 64,
}
TOKENS = torch.arange(24).view(2, 12) % 40


def network(**shape: Any) -> Transformer:
    return new_network(TransformerConfig(**(SHAPE | shape)), 3).eval()


def learn_a_little(net: nn.Module) -> None:
    """Give every addition a value, as a training would."""
    generator = torch.Generator().manual_seed(1)
    for layer in lora.wrapped(net).values():
        layer.up.data = torch.randn(layer.up.shape, generator=generator) * 0.1
        if layer.magnitude is not None:
            layer.magnitude.data *= 1 + 0.1 * torch.randn(layer.magnitude.shape, generator=generator)


@pytest.mark.parametrize("magnitudes", [False, True], ids=["lora", "dora"])
def test_fresh_additions_change_nothing_and_merged_ones_the_same(magnitudes: bool) -> None:
    net = network()
    before = net(TOKENS)
    lora.attach(net, rank=3, alpha=6, magnitudes=magnitudes)
    torch.testing.assert_close(net(TOKENS), before)
    learn_a_little(net)
    after = net(TOKENS)
    assert (after - before).abs().max() > 1e-2
    with lora.without_additions(net):
        torch.testing.assert_close(net(TOKENS), before)
    with lora.whole(net):
        assert not lora.wrapped(net)
        torch.testing.assert_close(net(TOKENS), after)
    assert lora.wrapped(net)
    lora.merge(net)
    torch.testing.assert_close(net(TOKENS), after)


def test_only_additions_move() -> None:
    net = network()
    frozen = {name: parameter.clone() for name, parameter in net.named_parameters()}
    lora.attach(net, rank=2, alpha=4, layers=["query", "*.down"])
    assert set(lora.wrapped(net)) == {f"blocks.{n}.{name}" for n in (0, 1) for name in ("attention.query", "feed_forward.down")}
    moving = [parameter for parameter in net.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in moving) == 2 * (2 * (16 + 16) + 2 * (24 + 16))
    optimizer = torch.optim.SGD(moving, lr=1.0)
    net(TOKENS).sum().backward()
    optimizer.step()
    own = dict(net.named_parameters())
    for name, value in frozen.items():
        inside = name.replace("query.", "query.base.").replace("down.", "down.base.")
        assert torch.equal(own[inside], value), name


def test_a_layer_that_is_none_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'queri'.*query"):
        lora.attach(network(), rank=2, alpha=4, layers=["queri"])


def test_freezing_lets_the_upper_half_move_or_what_is_named() -> None:
    net = network(layers=4)
    adapt.freeze(net)
    moving = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert moving == {name for name, _ in net.named_parameters() if name.startswith(("blocks.2.", "blocks.3.", "norm."))}
    adapt.freeze(net, ["blocks.1", "blocks.*.norm2"])
    moving = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert moving == {n for n, _ in net.named_parameters() if n.startswith("blocks.1.") or ".norm2." in n}
    with pytest.raises(UsageError, match=r"'block\.1'.*blocks\.1"):
        adapt.freeze(net, ["block.1"])


@pytest.mark.parametrize("magnitudes", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(("shape", "layers"), [(SHAPE, ()), (GPT2, ()), (GPT2, ("query", "down"))], ids=["llama", "gpt2", "gpt2-partly"])
def test_peft_computes_the_same_from_our_folder(shape: dict[str, Any], layers: tuple[str, ...], magnitudes: bool, tmp_path: Path) -> None:
    """Where query, key and value are one matrix of theirs, the additions are stacked; read back, ours computes the same, too."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from miaobi.core.artifact import open_artifact, seal
    from miaobi.core.families import family
    from miaobi.core.types import Record
    from miaobi.engine import adapter
    from miaobi.models.common.text_codec import TextCodec

    net = new_network(TransformerConfig(**shape), 3).eval()
    base = tmp_path / "base"
    base.mkdir()
    save_network(net, base, bos_token_id=1, eos_token_id=2)
    sealed = seal(base, family="gpt", name="base")
    codec = TextCodec.fit([Record(id="a", parts=("abc",))], context=32)
    maker: Any = family("gpt").model_class()
    learner = maker(net, codec)
    lora.attach(net, rank=3, alpha=12, magnitudes=magnitudes, layers=layers)
    learn_a_little(net)
    expected = net(TOKENS)
    folder = tmp_path / "adapter"
    folder.mkdir()
    adapter.save(learner, folder, base=sealed)
    theirs = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), folder).eval()
    torch.testing.assert_close(theirs(TOKENS).logits, expected, atol=1e-5, rtol=1e-4)
    seal(folder, family="gpt", name="adapter", base="base")
    again = maker(new_network(TransformerConfig(**shape), 3).eval(), codec)
    adapter.put_on(again, open_artifact(folder))
    torch.testing.assert_close(again.network(TOKENS), expected, atol=1e-5, rtol=1e-4)
    merged = theirs.merge_and_unload().state_dict()
    for name, tensor in weights_to_hub(again.network.config, again.network.state_dict()).items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_an_adapter_is_trained_measured_and_loaded(place: Path, method: str, recipe: Any) -> None:
    """It learns its data, says what it forgot, stays small, and a load finds its base by hash."""
    done = adapting.adapt(recipe(method, "pairs.jsonl", adapt={"method": method, "rank": 4}), threads=1)
    own, general = (done.report["bits_per_character"][side] for side in ("own", "general"))
    assert own["after"]["value"] < 0.75 * own["before"]["value"]
    assert own["difference"]["p_value"] < 0.05
    assert general["after"]["value"] > general["before"]["value"], "who learns to run forgets how to sit"
    folder = place / "artifacts" / method
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors", "base.json", "miaobi.json"}
    assert not (folder / "model.safetensors").exists()
    loaded = api.load(method)
    assert (loaded.card.name, loaded.card.family) == (method, "gpt")
    assert loaded.generate("the red dog", temperature=0)[0].label.source == loaded.artifact.sha256
    assert json.loads((done.training.run / "adapt.json").read_text(encoding="utf-8")) == done.report


def test_merged_it_is_a_whole_model_that_says_the_same(place: Path, recipe: Any) -> None:
    for name, merge in (("apart", False), ("merged", True)):
        adapting.adapt(recipe(name, "pairs.jsonl", steps=10, adapt={"rank": 4, "merge": merge}), threads=1)
    assert (place / "artifacts" / "merged" / "model.safetensors").is_file()
    texts = {api.load(name).generate("the old dog", temperature=0)[0].text for name in ("apart", "merged")}
    assert len(texts) == 1


def test_an_adapter_is_put_onto_no_other_base(place: Path, tmp_path: Path, recipe: Any) -> None:
    adapting.adapt(recipe("lost", "pairs.jsonl", steps=2, adapt={"rank": 2}), threads=1)
    kept = tmp_path / "kept"
    shutil.move(str(place / "artifacts" / "base"), kept)
    try:
        with pytest.raises(ArtifactError, match=r"needs its base model 'base'"):
            api.load("lost")
        shutil.copytree(place / "artifacts" / "merged", place / "artifacts" / "base")
        manifest = place / "artifacts" / "base" / "miaobi.json"
        manifest.write_text(manifest.read_text(encoding="utf-8").replace('"name": "merged"', '"name": "base"'), encoding="utf-8")
        with pytest.raises(ArtifactError, match=r"another 'base'"):
            api.load("lost")
    finally:
        shutil.rmtree(place / "artifacts" / "base", ignore_errors=True)
        shutil.move(str(kept), place / "artifacts" / "base")


def test_a_damaged_adapter_says_so(place: Path) -> None:
    from miaobi.engine import adapter

    folder = place / "artifacts" / "apart"
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    broken = place / "broken"
    shutil.copytree(folder, broken)
    for change, message in (
        ({"peft_type": "IA3"}, "IA3"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ):
        (broken / "adapter_config.json").write_text(json.dumps(config | change), encoding="utf-8")
        with pytest.raises(ArtifactError, match=message):
            adapter.read(broken)
    (broken / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (broken / "adapter_model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ArtifactError, match="cannot be read"):
        adapter.read(broken)


def test_a_resumed_adaptation_equals_an_unbroken_one(place: Path, recipe: Any) -> None:
    """The checkpoints hold the additions alone, and the weights of the base come from the base."""
    section = {"adapt": {"rank": 2, "dropout": 0.1}}
    for name in ("unbroken", "resumed"):
        if name == "unbroken":
            adapting.adapt(recipe(name, "pairs.jsonl", steps=6, **section), threads=1)
        else:
            half = recipe(name, "pairs.jsonl", steps=6, **section)
            half["train"] |= {"checkpoint_every": 3}
            stop = _stop_after(3)
            with pytest.raises(KeyboardInterrupt):
                adapting.adapt(half, threads=1, on_event=stop)
            adapting.adapt(half, threads=1, resume=True)
    one, other = ((place / "artifacts" / name / "adapter_model.safetensors").read_bytes() for name in ("unbroken", "resumed"))
    assert one == other
    from safetensors.torch import load_file

    stored = load_file(place / "runs" / "resumed" / "checkpoints" / "step-000006" / "model.safetensors")
    assert stored
    assert all(name.endswith((".up", ".down")) for name in stored)


def _stop_after(step: int) -> Any:
    def watch(event: Any) -> None:
        if event.kind == "checkpoint" and event.step == step:
            raise KeyboardInterrupt

    return watch


def test_where_nothing_is_better_the_base_is_kept(place: Path, recipe: Any) -> None:
    """A rate that spoils everything: early stopping keeps the additions of the beginning, which are none, and the report says so."""
    change = recipe("spoiled", "pairs.jsonl", steps=6, adapt={"rank": 2})
    change["train"] |= {"evaluate_every": 1, "early_stopping": {"patience": 2}, "optimizer": {"lr": 3.0, "weight_decay": 0.0}}
    done = adapting.adapt(change, threads=1)
    assert done.training.steps == 2
    own = done.report["bits_per_character"]["own"]
    assert own["after"]["value"] == own["before"]["value"]
    from safetensors.torch import load_file

    stored = load_file(place / "artifacts" / "spoiled" / "adapter_model.safetensors")
    assert not any(tensor.any() for name, tensor in stored.items() if "lora_B" in name)


def test_recipes_that_contradict_themselves_are_refused(place: Path, recipe: Any) -> None:
    with pytest.raises(UsageError, match=r"model\.base"):
        api.recipe_of({"name": "x", "model": {"family": "gpt"}, "adapt": {}})
    with pytest.raises(UsageError, match="prefer, reinforce"):
        api.recipe_of({"name": "x", "model": {"base": "base"}, "prefer": {}, "reinforce": {}})
    with pytest.raises(UsageError, match="none of the sections"):
        adapting.adapt({"name": "x", "model": {"base": "base"}})
    with pytest.raises(MiaobiError, match="no matrix here"):
        adapting.adapt(recipe("odd", "pairs.jsonl", adapt={"layers": ["nothing"]}), threads=1)
