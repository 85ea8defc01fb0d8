"""Networks of the library `transformers` as steppers: rows padded on the left, its own cache, logits of the last token only.

Shapes: B rows, T new tokens, S tokens so far, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class CausalStepper:
    """Goes on with texts."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.vocab_size = int(network.get_output_embeddings().weight.shape[0])
        takes = inspect.signature(network.forward).parameters
        self.takes_positions = "position_ids" in takes
        self.keeps_one = "logits_to_keep" in takes
        self.memory = "past_key_values" if "past_key_values" in takes else "cache_params"  # so Mamba and its kin call it
        self.cache: Any = None
        self.mask = torch.empty(0)  # (B, S) 1 where there is a token, 0 where there is padding

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts; logits (B, V) of the token after each."""
        longest = max(map(len, prompts))
        tokens = torch.zeros((len(prompts), longest), dtype=torch.long)
        self.mask = torch.ones((len(prompts), longest), dtype=torch.long, device=self.network.device)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
            self.mask[row, : longest - len(prompt)] = 0
        self.cache = None
        return self.advance(tokens)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token a row; logits (B, V) of the next."""
        self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)
        return self.advance(torch.as_tensor(tokens, dtype=torch.long)[:, None])

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat rows."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.network.device)
        self.mask = self.mask[index]
        self.cache.reorder_cache(index)

    def advance(self, tokens: Tensor) -> Tensor:
        """Read new tokens (B, T), which the mask counts already; logits (B, V) behind the last of each row."""
        given: dict[str, Any] = {self.memory: self.cache, "use_cache": True}
        if self.cache is None or self.memory == "past_key_values":  # a recurrent state has no columns that a mask could hide
            given["attention_mask"] = self.mask
        if self.takes_positions:
            positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, S): padding does not count
            given["position_ids"] = positions[:, -tokens.shape[1] :]
        if self.keeps_one:
            given["logits_to_keep"] = 1
        found = self.network(tokens.to(self.network.device), **given)
        self.cache = found[self.memory]
        return found.logits[:, -1]  # type: ignore[no-any-return]


class Seq2SeqStepper:
    """Makes another text of a text: `sources` are read once by the encoder, what is decoded begins with the model's own start token."""

    def __init__(self, network: Any, source: Sequence[int]) -> None:
        self.network, self.source = network, source
        self.vocab_size = int(network.get_output_embeddings().weight.shape[0])
        self._encoded: Any = None
        self._states = torch.empty(0)  # (B, S, W)
        self._cache: Any = None

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the source, and what the answer begins with; logits (B, V) of what follows."""
        device = self.network.device
        source = torch.tensor([list(self.source)], device=device)
        self._states = self.network.get_encoder()(input_ids=source).last_hidden_state.expand(len(prompts), -1, -1)
        self._cache = None
        return self._advance(torch.tensor([list(prompt) for prompt in prompts]))

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token a row; logits (B, V) of the next."""
        return self._advance(torch.as_tensor(tokens, dtype=torch.long)[:, None])

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat rows."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.network.device)
        self._states = self._states[index]
        self._cache.reorder_cache(index)

    def _advance(self, tokens: Tensor) -> Tensor:
        found = self.network(
            encoder_outputs=(self._states,),
            decoder_input_ids=tokens.to(self.network.device),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = found.past_key_values
        return found.logits[:, -1]  # type: ignore[no-any-return]
