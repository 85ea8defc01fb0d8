"""The decoding loop: what is drawn, when it ends, and that a row never depends on its neighbours."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import choice, processors
from miaobi.engine.sampling.constraint import All, OneOf
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.tokens import Event, Finished, Token, decode

V = 31


def run(stepper: Any, prompts: list[list[int]], options: Sampling, seeds: Any = None, **more: Any) -> list[Event]:
    more.setdefault("end_tokens", [0])
    return list(decode(stepper, prompts, options, seeds=range(len(prompts) * options.n) if seeds is None else seeds, **more))


def texts(events: list[Event]) -> dict[int, tuple[int, ...]]:
    return {event.row: event.tokens for event in events if isinstance(event, Finished)}


def test_greedy_agrees_with_transformers(gpt2: Any, recomputing: Any) -> None:
    prompts = torch.tensor([[3, 4, 5], [7, 2, 9], [11, 12, 13]])
    expected = gpt2.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=12)[:, 3:].tolist()
    for as_numpy in (True, False):
        found = texts(run(recomputing(gpt2, as_numpy=as_numpy), prompts.tolist(), Sampling(temperature=0, max_tokens=12)))
        assert [list(found[row]) for row in range(3)] == [list(itertools.takewhile(bool, row)) for row in expected]


@pytest.mark.parametrize(
    "options",
    [
        Sampling(max_tokens=12),
        Sampling(max_tokens=12, temperature=0.7, top_p=0.9),
        Sampling(max_tokens=12, temperature=1.4, top_k=5, min_p=0.02),
        Sampling(max_tokens=12, typical_p=0.7, repetition_penalty=1.2),
        Sampling(max_tokens=12, frequency_penalty=0.4, presence_penalty=0.2, no_repeat_ngram=2, min_tokens=4),
    ],
)
def test_numpy_and_torch_draw_the_same_tokens(gpt2: Any, recomputing: Any, options: Sampling) -> None:
    prompts = [[3, 4, 5], [7], [2, 2]]
    in_numpy = run(recomputing(gpt2, as_numpy=True), prompts, options)
    in_torch = run(recomputing(gpt2, as_numpy=False), prompts, options)
    assert texts(in_numpy) == texts(in_torch)
    for one, other in zip(in_numpy, in_torch, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_row_does_not_depend_on_its_batch(gpt2: Any, recomputing: Any) -> None:
    prompts = [[3, 4, 5], [7], [2, 2, 8, 6]]
    options = Sampling(max_tokens=15, temperature=1.2, top_p=0.95)
    together = texts(run(recomputing(gpt2, as_numpy=True), prompts, options, seeds=[10, 20, 30]))
    for row, seed in ((2, 30), (0, 10), (1, 20)):
        assert texts(run(recomputing(gpt2, as_numpy=True), [prompts[row]], options, seeds=[seed]))[0] == together[row]


def test_copies_read_their_prompt_once(bigrams: Any) -> None:
    stepper = bigrams(V)
    found = texts(run(stepper, [[1], [2], [1]], Sampling(n=4, max_tokens=6)))
    assert stepper.num_prompts_read == 2
    assert len(found) == 12
    assert len({found[row] for row in range(4)}) > 1, "copies have seeds of their own"


def test_greedy_copies_begin_with_the_likeliest_tokens_in_order(bigrams: Any) -> None:
    stepper = bigrams(V)
    order = np.argsort(-stepper.start([[1]])[0])
    found = texts(run(bigrams(V), [[1]], Sampling(n=3, temperature=0, max_tokens=4), end_tokens=[]))
    assert [found[row][0] for row in range(3)] == order[:3].tolist()
    for row in range(3):  # and each goes on as greedily as it would alone
        rest = texts(run(bigrams(V), [[found[row][0]]], Sampling(temperature=0, max_tokens=3), end_tokens=[]))
        assert found[row][1:] == rest[0]


def test_frequencies_are_the_distribution() -> None:
    """5,000 draws of one token against its probability, by the chi-square test at one in ten thousand."""
    options = Sampling(temperature=0.8, top_p=0.9, top_k=12)
    row = np.random.default_rng(5).normal(size=V).astype(np.float32) * 2
    probabilities = np.exp(processors.log_softmax(processors.truncate(row[None], options))[0].astype(np.float64))
    uniforms = np.random.default_rng(6).random(5_000).tolist()
    for logits in (np.tile(row, (5_000, 1)), torch.from_numpy(row).expand(5_000, V)):
        counts = np.bincount(choice.draw(logits, options, uniforms), minlength=V)
        possible = probabilities > 0
        assert counts[~possible].sum() == 0
        expected = probabilities[possible] * 5_000
        statistic = ((counts[possible] - expected) ** 2 / expected).sum()
        assert statistic < 37.4, f"{possible.sum()} tokens; 37.4 is the 99.99 % point for 12 degrees of freedom"


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(uniform: float) -> None:
    row = np.full(1000, -np.inf, dtype=np.float32)
    row[[3, 600]] = [0.0, -80.0]  # the second weighs 1e-35
    for logits in (row[None], torch.from_numpy(row)[None]):
        for options in (Sampling(), Sampling(top_p=0.5), Sampling(top_k=2), Sampling(typical_p=0.5)):
            assert choice.draw(logits, options, [uniform])[0] in (3, 600)


def test_log_probabilities_are_the_models_own(gpt2: Any, recomputing: Any) -> None:
    prompt = [3, 4, 5]
    options = Sampling(temperature=0.5, top_k=3, repetition_penalty=1.5, logit_bias={4: 2.0}, max_tokens=6)
    events = run(recomputing(gpt2, as_numpy=True), [prompt], options, end_tokens=[])
    finished = events[-1]
    assert isinstance(finished, Finished)
    with torch.no_grad():
        logprobs = gpt2(torch.tensor([[*prompt, *finished.tokens]])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(prompt) - 1 + place, token]) for place, token in enumerate(finished.tokens)]
    assert [event.logprob for event in events[:-1]] == pytest.approx(expected, abs=1e-4)
    assert finished.logprob == pytest.approx(sum(expected), abs=1e-3)


def test_ends(bigrams: Any) -> None:
    """An end token is not in the text, counts in its likelihood, and is impossible before `min_tokens`."""
    for seed in range(30):
        events = run(bigrams(5), [[1]], Sampling(max_tokens=20, min_tokens=3), seeds=[seed], end_tokens=[0, 4])
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert 3 <= len(finished.tokens) <= 20
        assert not {0, 4} & set(finished.tokens)
        assert finished.reason == ("length" if len(finished.tokens) == 20 else "stop")
        own = sum(event.logprob for event in events[:-1])
        assert finished.logprob <= own if finished.reason == "stop" else finished.logprob == pytest.approx(own)


def test_rows_end_by_themselves(bigrams: Any) -> None:
    """Rows that finish leave the batch; the events of the others go on, token by token."""
    options = Sampling(max_tokens=12, temperature=1.0)
    events = run(bigrams(5), [[1]] * 8, options, seeds=range(8))
    found = texts(events)
    assert len({len(tokens) for tokens in found.values()}) > 1
    for row in range(8):
        own = [event for event in events if event.row == row]
        assert isinstance(own[-1], Finished)
        assert tuple(event.token for event in own[:-1] if isinstance(event, Token)) == found[row]


def test_stop_sees_generated_tokens_only(bigrams: Any) -> None:
    seen: list[tuple[int, ...]] = []

    def stop(tokens: Any) -> bool:
        seen.append(tuple(tokens))
        return len(tokens) == 3

    finished = run(bigrams(V), [[9, 8, 7]], Sampling(max_tokens=10), end_tokens=[], stop=stop)[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"
    assert seen == [finished.tokens[:1], finished.tokens[:2], finished.tokens]


def test_constraints_differ_by_row(bigrams: Any) -> None:
    first = OneOf([[3, 4], [3, 5, 6]], vocab_size=V, end_token=0)
    second = All([OneOf([[7], [8, 9]], vocab_size=V, end_token=0), OneOf([[8, 9], [1]], vocab_size=V, end_token=0)])
    for seed in range(10):
        found = texts(run(bigrams(V), [[1], [1], [1]], Sampling(max_tokens=9), seeds=[seed] * 3, constraints=[first, None, second]))
        assert found[0] in {(3, 4), (3, 5, 6)}
        assert found[2] == (8, 9)


def test_closing_the_iterator_ends_the_generation(bigrams: Any) -> None:
    stepper = bigrams(V)
    events = decode(stepper, [[1]], Sampling(max_tokens=10_000), end_tokens=[], seeds=[0])
    next(events)
    events.close()
    with pytest.raises(StopIteration):
        next(events)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("as_torch", [False, True])
def test_a_broken_model_is_named(bad: float, as_torch: bool) -> None:
    raw: Any = np.zeros((2, V), dtype=np.float32)
    raw[1, 3] = bad
    raw = torch.from_numpy(raw) if as_torch else raw
    with pytest.raises(MiaobiError, match="not a number"):
        choice.check(raw, raw)


def test_nothing_left_is_explained(bigrams: Any) -> None:
    class Nothing:
        def start(self) -> int:
            return 0

        def allowed(self, state: int) -> np.ndarray:
            return np.zeros(V, dtype=bool)

        def advance(self, state: int, token: int) -> int:
            return state

    with pytest.raises(MiaobiError, match="rule out all 31"):
        run(bigrams(V), [[1]], Sampling(), constraints=[Nothing()])
    with pytest.raises(MiaobiError, match="rule out all 3"):
        run(bigrams(3), [[1]], Sampling(no_repeat_ngram=1, max_tokens=9), end_tokens=[])


def test_a_bias_beyond_the_vocabulary_is_refused_before_anything_is_drawn(bigrams: Any) -> None:
    with pytest.raises(MiaobiError, match="names token 31; the last one is 30"):
        decode(bigrams(V), [[1]], Sampling(logit_bias={31: 1.0}), end_tokens=[], seeds=[0])


def test_half_precision_is_widened() -> None:
    row = torch.tensor([[10.0, 9.0, 0.0]], dtype=torch.bfloat16)
    assert choice.single_precision(row).dtype == torch.float32
    same = row.float()
    assert choice.single_precision(same) is same
