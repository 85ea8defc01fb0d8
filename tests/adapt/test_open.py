"""Open checkpoints are adapted like our own models, also those whose network is transformers' own, and PEFT loads the adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from miaobi import adapting, api

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_an_open_checkpoint_takes_an_adapter_that_peft_loads(place: Path, recipe: Any, architecture: str) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    config = {"architecture": architecture, "values": SHAPE, "context": 64}
    name = architecture.replace("_", "-")
    api.train({**recipe(name, "texts.jsonl", steps=20), "model": {"family": "hf_transformers", "config": config}}, threads=1)
    change = {**recipe(f"{name}-lora", "pairs.jsonl", steps=10, adapt={"rank": 4}), "model": {"base": name}}
    done = adapting.adapt(change, threads=1)
    own = done.report["bits_per_character"]["own"]
    assert own["after"]["value"] < own["before"]["value"]
    base = transformers.AutoModelForCausalLM.from_pretrained(place / "artifacts" / name, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, place / "artifacts" / f"{name}-lora").eval()
    ids = torch.arange(5, 17)[None]
    model: Any = api.load(f"{name}-lora").model
    with torch.no_grad():
        torch.testing.assert_close(model.network(ids), theirs(ids).logits, atol=1e-4, rtol=1e-3)
    assert adapting.convert(f"{name}-lora", place / f"{name}-hf")["same_tokens"] == 1
