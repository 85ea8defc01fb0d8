"""Networks of the library transformers in a shared batch: rows of one cache that come and go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import transformers

from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Joinable
from miaobi.engine.sampling.table import Table
from miaobi.engine.sampling.tokens import Finished, decode
from miaobi.models.hf_transformers.rows import SharedStepper, can_share
from miaobi.models.hf_transformers.stepper import CausalStepper

SMALL: dict[str, Any] = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def network(name: str) -> Any:
    torch.manual_seed(0)
    made: dict[str, Any] = {
        "phi": lambda: transformers.PhiForCausalLM(transformers.PhiConfig(**SMALL, max_position_embeddings=256)),
        "olmo": lambda: transformers.OlmoForCausalLM(transformers.OlmoConfig(**SMALL, num_key_value_heads=2, pad_token_id=0)),
        "gemma": lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=16)),
        "gemma3": lambda: transformers.Gemma3ForCausalLM(
            transformers.Gemma3TextConfig(**SMALL, num_key_value_heads=1, head_dim=16, sliding_window=8)
        ),
        "mamba": lambda: transformers.MambaForCausalLM(transformers.MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2)),
    }
    model = made[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", ["phi", "olmo", "gemma"])
def test_rows_that_join_sit_out_and_are_restored_are_what_they_are_alone(name: str) -> None:
    model = network(name)
    assert can_share(model)
    stepper, alone = SharedStepper(model, 256), CausalStepper(model)
    assert isinstance(stepper, Joinable)
    first, second, third = [3, 4, 5, 6, 7], [8, 9], list(range(10, 40))

    def same(found: torch.Tensor, *tokens: list[int]) -> None:
        for row, text in enumerate(tokens):
            assert torch.allclose(found[row], alone.start([text])[0], atol=1e-4)

    same(stepper.join([first]), first)
    same(stepper.join([second, third[:20]]), second, third[:20])
    kept = stepper.keep(2)
    same(stepper.extend(2, third[20:]), third)
    assert stepper.lengths == [5, 2, 30]
    logits = stepper.step_some([1, None, 2])
    same(logits[[0, 2]], [*first, 1], [*third, 2])
    same(stepper.step_some([None, 3, None])[[1]], [*second, 3])
    stepper.restore(kept, 15)
    same(stepper.extend(3, [50, 51]), [*third[:15], 50, 51])
    same(stepper.extend(1, [52, 53]), [*second, 3, 52, 53])
    stepper.reorder([3, 1, 1])
    same(stepper.step_some([4, 5, 6]), [*third[:15], 50, 51, 4], [*second, 3, 52, 53, 5], [*second, 3, 52, 53, 6])
    assert stepper.mask.shape[1] <= 21, "columns of rows that left are cut off"
    assert kept.num_bytes == 20 * stepper.column_bytes
    stepper.reorder([])
    same(stepper.join([second]), second)


@pytest.mark.parametrize("name", ["gemma3", "mamba"])
def test_caches_that_forget_are_left_alone(name: str) -> None:
    assert not can_share(network(name))


def test_greedy_texts_in_company_are_those_alone() -> None:
    model = network("olmo")
    prompts = [[number % 60 + 1, *range(1, number % 13 + 2)] for number in range(24)]
    greedy = Sampling(max_tokens=20, temperature=0)

    def text(prompt: list[int], stepper: Any) -> tuple[int, ...]:
        events = decode(stepper, [prompt], greedy, end_tokens=[0], seeds=[0])
        return next(event.tokens for event in events if isinstance(event, Finished))

    alone = [text(prompt, CausalStepper(model)) for prompt in prompts]
    table = Table()

    def shared(prompt: list[int]) -> tuple[int, ...]:
        with table.share():
            return text(prompt, SharedStepper(model, 256))

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(shared, prompts)) == alone
    assert table.figures()["tokens"] > 2 * table.figures()["steps"]
