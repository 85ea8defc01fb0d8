"""The captioner in torch: learns captions of both languages at once, scores them, and writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Batch, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.data.pictures import Pixels
from miaobi.engine import features
from miaobi.models.caption.codec import CaptionCodec
from miaobi.models.caption.describe import describe, request_for
from miaobi.models.caption.family import FAMILY
from miaobi.models.caption.network import CaptionNetwork
from miaobi.models.caption.runtime import CONFIG, WEIGHTS, read_config
from miaobi.models.caption.schema import Config
from miaobi.models.caption.vocabulary import Vocabulary
from miaobi.models.common.captions import LANGUAGES, captions_of
from miaobi.models.common.hub_format import config_to_hub, weights_from_hub, weights_to_hub
from miaobi.models.common.picture_features import grid_of, see
from miaobi.models.common.transformer import TorchStepper
from miaobi.models.common.weights import FLOATS, reading_weights, save_weights

PICTURE = "picture."  # what stands before the names of the way in; the decoder's names are Hugging Face's
SCORED = 32  # records scored at once


class Captioner:
    """A Learner, Scorer and Exporter."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, network: CaptionNetwork, config: Config, vocabulary: Vocabulary, *, name: str = "caption") -> None:
        self.network, self.config, self.vocabulary = network, config, vocabulary
        self.codec = CaptionCodec(config, vocabulary)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights over the tokens of the records' captions."""
        chosen = validate(Config, config, "model.config")
        texts = [text for record in records for language in LANGUAGES for text in captions_of(record, language)]
        vocabulary = Vocabulary.fit(texts, min_count=chosen.min_count)
        network = CaptionNetwork(chosen, len(vocabulary))
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network, chosen, vocabulary)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Cross-entropy in nats, summed over the tokens of all captions."""
        tokens, weights = batch["tokens"], batch["weights"]
        logits = self.network(batch["places"], tokens[:, :-1], weights, batch["owners"])
        targets = tokens[:, 1:][weights]
        total = F.cross_entropy(logits.float(), targets, reduction="sum")
        return Loss(total=total, count=len(targets), logs={"right": (logits.argmax(-1) == targets).sum().item()})

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """All but the eye."""
        return self.network.parameters()

    @torch.inference_mode()
    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of the first caption in each language, given the picture.

        Raises:
            DataError: a record has no caption.
        """
        self.network.eval()
        for start in range(0, len(records), SCORED):
            part = records[start : start + SCORED]
            batch = self.codec.collate(part)
            tokens, weights, owners = batch["tokens"], batch["weights"], batch["owners"].numpy()
            logits = self.network(batch["places"], tokens[:, :-1], weights, batch["owners"])
            nats = F.cross_entropy(logits.float(), tokens[:, 1:][weights], reduction="none")
            of_row = np.repeat(owners, weights.sum(dim=1).numpy())  # the picture of each target
            bits = np.bincount(of_row, weights=nats.numpy() / np.log(2), minlength=len(part))
            counts = np.bincount(of_row, minlength=len(part))
            for number, record in enumerate(part):
                text = self.text_of(record)
                characters, size = len(text), len(text.encode())
                yield Score(id=record.id, bits=float(bits[number]), tokens=int(counts[number]), characters=characters, bytes=size)

    def text_of(self, record: Record, /) -> str:
        """The captions that are scored."""
        return "".join(captions_of(record, language)[0] for language in LANGUAGES if captions_of(record, language))

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked; see `describe`."""
        return request_for(record)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Captions of the request's picture."""
        self.network.eval()
        yield from describe(self._look, self.vocabulary, self.config, request)

    @torch.inference_mode()
    def _look(self, picture: Pixels) -> TorchStepper:
        device = self.network.enter.weight.device
        seen = torch.from_numpy(see([picture], self.config.size)).to(device)
        prefix = self.network.prefix(grid_of(features.network(str(device)), seen, self.config.grid))
        return TorchStepper(self.network.decoder, reserve=self.config.length, prefix=prefix)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The eye and the Transformer as two graphs; see `graph.export`."""
        from miaobi.models.caption.graph import export

        return export(self, folder, formats)

    def save(self, folder: Path, /) -> None:
        """`config.json`, `vocabulary.json` and `model.safetensors`, without the eye, which a package brings."""
        decoder = self.network.decoder
        tensors = weights_to_hub(decoder.config, decoder.state_dict())
        tensors |= {PICTURE + name: tensor for name, tensor in self.network.state_dict().items() if not name.startswith("decoder.")}
        save_weights(tensors, folder, dtype=FLOATS[self.config.stored])
        values = config_to_hub(decoder.config) | {"caption": self.config.model_dump(mode="json")}
        write_text(folder / CONFIG, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        self.vocabulary.save(folder)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit its configuration.
        """
        config, vocabulary = read_config(folder), Vocabulary.load(folder)
        network = CaptionNetwork(config, len(vocabulary))
        with reading_weights(folder):
            tensors = load_file(folder / WEIGHTS)
            decoder = weights_from_hub(network.decoder.config, tensors)
            own = {name.removeprefix(PICTURE): tensor for name, tensor in tensors.items() if name.startswith(PICTURE)}
            network.load_state_dict(own | {f"decoder.{name}": tensor for name, tensor in decoder.items()})
        return cls(network.float().to(device).eval(), config, vocabulary, name=folder.name)
