"""Tacotron in torch: it learns texts and their spectrograms; speaking is the runtime's, with the weights of now."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as functional
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import DataError
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.weights import reading_weights, save_weights
from miaobi.models.tacotron.ask import request_for
from miaobi.models.tacotron.codec import TacotronCodec
from miaobi.models.tacotron.family import FAMILY
from miaobi.models.tacotron.network import Network, Spoken
from miaobi.models.tacotron.schema import Config
from miaobi.models.tacotron.speak import speak
from miaobi.models.tacotron.speaker import Speaker
from miaobi.models.tacotron.stored import CONFIG, LEFT_OUT, VOCODER, WEIGHTS, read, vocoder_by_name
from miaobi.models.tacotron.text import Alphabet, text_to_read


class Tacotron:
    """A Learner. `vocoder` is the folder of the wavenet that it takes along."""

    phases: tuple[str, ...] = ("main",)

    def __init__(
        self, network: Network, config: Config, alphabet: Alphabet, *, vocoder: Path | None = None, name: str = "tacotron"
    ) -> None:
        self.network, self.config, self.alphabet, self.vocoder = network, config, alphabet, vocoder
        self.codec = TacotronCodec(config, alphabet)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the symbols.

        Raises:
            UsageError: a wrong configuration, or a vocoder that does not fit.
            DataError: no record has a text.
        """
        chosen = validate(Config, config, "model.config")
        alphabet = Alphabet.of((text for record in records if (text := text_to_read(record, chosen.text))), chosen.text)
        if not alphabet.symbols:
            raise DataError("no record says what is spoken in it. Give the records a text, as LJSpeech's metadata.csv does")
        vocoder = vocoder_by_name(chosen.vocoder, rate=chosen.rate, mel=chosen.mel)[1] if chosen.vocoder else None
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return cls(Network(chosen, len(alphabet)), chosen, alphabet, vocoder=vocoder)

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """How far frames are off before and after they are mended, whether the end is found, and how far attention is from the diagonal.

        Summed over frames; a step of `reduction` frames counts as so many.
        """
        config, frames, ends = self.config, batch["frames"], batch["ends"]
        spoken: Spoken = self.network(batch["symbols"], batch["lengths"], frames, ends)
        there = torch.arange(frames.shape[1], device=frames.device)[None] < ends[:, None]  # (B, T)
        written, mended = (_distance(one, frames)[there].sum() for one in (spoken.frames, spoken.mended))
        steps = (ends + config.reduction - 1) // config.reduction
        counted = torch.arange(spoken.stops.shape[1], device=frames.device)[None] < steps[:, None]  # (B, S)
        last = torch.arange(spoken.stops.shape[1], device=frames.device)[None] == steps[:, None] - 1
        stops = functional.binary_cross_entropy_with_logits(spoken.stops.float(), last.float(), reduction="none")[counted].sum()
        away = spoken.weights.float() * off_diagonal(batch["lengths"], steps, spoken.weights.shape, config.guide_width)
        guided = away.sum(dim=-1)[counted].sum()
        total = written + mended + config.reduction * (stops + config.guide * guided)
        logs = {
            "mel": float((spoken.mended - frames).abs().mean(dim=-1)[there].detach().sum()),
            "stop": float(stops.detach()) * config.reduction,
            "off_diagonal": float(guided.detach()) * config.reduction,
        }
        return Loss(total=total, count=int(there.sum()), logs=logs)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Everything."""
        return self.network.parameters()

    # ------------------------------------------------------------------ speaking, and files

    @property
    def speaker(self) -> Speaker:
        """The network for speaking, with the weights of now."""
        state = self.network.state_dict().items()
        return Speaker(self.config, {name: tensor.detach().float().cpu().numpy() for name, tensor in state if tensor.is_floating_point()})

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The text as sound; see `speak`."""
        yield from speak(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its text."""
        return request_for(self.config, record)

    def text_of(self, record: Record, /) -> str:
        """What is said in the record, as the model is asked for it."""
        return request.prompt if (request := self.request_for(record)) else ""

    def save(self, folder: Path, /) -> None:
        """Weights, configuration, symbols, and the vocoder that it takes along."""
        save_weights(self.network.state_dict(), folder)
        own = {
            "model_type": "miaobi_tacotron",
            "config": self.config.model_dump(mode="json"),
            "symbols": list(self.alphabet.symbols),
        }
        write_text(folder / CONFIG, json.dumps(own, indent=2, ensure_ascii=False) + "\n")
        if self.vocoder is not None:
            shutil.copytree(self.vocoder, folder / VOCODER, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config, alphabet = read(folder)
        network = Network(config, len(alphabet))
        with reading_weights(folder):
            network.load_state_dict(load_file(folder / WEIGHTS))
        vocoder = folder / VOCODER if (folder / VOCODER).is_dir() else None
        return cls(network.to(device).eval(), config, alphabet, vocoder=vocoder, name=folder.name)


def _distance(made: Tensor, real: Tensor) -> Tensor:
    """Of each frame (B, T): mean absolute plus mean squared error over the bands."""
    gap = (made - real).float()
    return gap.abs().mean(dim=-1) + gap.square().mean(dim=-1)


def off_diagonal(lengths: Tensor, steps: Tensor, shape: torch.Size, width: float) -> Tensor:
    """(B, S, N): 0 where symbol and step are equally far along, towards 1 away from there (Tachibana et al., 2018)."""
    far = torch.arange(shape[1], device=steps.device)[None] / steps[:, None]  # (B, S)
    read = torch.arange(shape[2], device=steps.device)[None] / lengths[:, None]  # (B, N)
    return 1 - torch.exp(-((read[:, None] - far[..., None]) ** 2) / (2 * width**2))
