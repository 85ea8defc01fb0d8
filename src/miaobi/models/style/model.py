"""The style family in torch: learns one of three methods, and gives pictures the style of another or of a name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError, UsageError, unknown
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.style.codec import StyleCodec, styles_of
from miaobi.models.style.family import FAMILY
from miaobi.models.style.methods import METHODS, AdaIN, Cycle, Fast
from miaobi.models.style.networks import initialise
from miaobi.models.style.pixels import optimise
from miaobi.models.style.schema import Config, Options
from miaobi.models.style.transfer import Job, read_job, show

WEIGHTS, CONFIG = "model.safetensors", "config.json"
REMEMBERED = 64  # pictures whose mean is a named style
PREVIEW_EVERY = 20  # steps of optimised pixels


class Style:
    """A Learner."""

    def __init__(self, network: AdaIN | Fast | Cycle, config: Config, styles: Sequence[str], *, name: str = "style") -> None:
        self.network, self.config, self.styles = network, config, tuple(styles)
        self.phases = network.phases
        self.codec = StyleCodec(config, self.styles)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; what is kept of each named style is taken from the first of its records."""
        chosen = validate(Config, config, "model.config")
        styles = styles_of(records, chosen.styles)
        network = METHODS[chosen.method](chosen, len(styles))
        initialise(network, torch.Generator().manual_seed(seed))
        model = cls(network, chosen, styles)
        if not isinstance(network, Cycle):
            for number, style in enumerate(styles):
                own = [record for record in records if record.meta.get("style") == style][:REMEMBERED]
                network.remember(number, model.codec.collate(own)["pixels"])
        return model

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """The loss of the method; see `methods`."""
        return self.network.loss(batch["pixels"], batch["labels"], phase)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What moves in this phase; the eye never does."""
        return self.network.trainable(phase)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The request's picture in the style that it asks for.

        Raises:
            UsageError: no content, no or an unknown style, or one that this method cannot take.
        """
        options = Options.model_validate(dict(request.options))
        job = read_job(request, options, device=self._device)
        if options.method == "pixels":
            yield from self._optimised(job, options, request.seed)
            return
        with torch.inference_mode():
            made = self._stylised(job, options)
        yield from show(job, made, options)

    def _stylised(self, job: Job, options: Options) -> Tensor:
        """By the network: (1, 3, H, W)."""
        network = self.network.eval()
        if isinstance(network, AdaIN):
            style = network.named(self._number(options.style)) if job.style is None else network.of(job.style)
            return network(job.content, style, options.strength)  # type: ignore[no-any-return]
        if job.style is not None:
            raise UsageError(
                "this model knows the styles {known} and takes no style picture; ask with the option method: pixels",
                known=", ".join(self.styles),
            )
        number = self._number(options.style)
        made: Tensor = network(job.content, number if isinstance(network, Cycle) else torch.tensor([number], device=self._device))
        return torch.lerp(job.content, made, options.strength)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _number(self, name: str) -> int:
        if name and name not in self.styles:
            raise unknown("style", name, self.styles)
        return self.styles.index(name) if name else 0

    def _optimised(self, job: Job, options: Options, seed: int) -> Iterator[Chunk]:
        """By optimised pixels, with a preview now and then."""
        if job.style is None:
            raise UsageError("the method pixels needs a style picture: add it to the request as 'style_image'")
        generator = torch.Generator().manual_seed(seed)
        made = job.content
        for step, (made, _) in enumerate(
            optimise(job.content, job.style, steps=options.steps, strength=options.strength, generator=generator), start=1
        ):
            if step % PREVIEW_EVERY == 0 and step < options.steps:
                yield job.preview(made, step, options)
        yield from show(job, made, options)

    def save(self, folder: Path, /) -> None:
        """`config.json`, with the names of the styles, and `model.safetensors`."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / WEIGHTS).chmod(0o644)
        values = {"config": self.config.model_dump(mode="json"), "styles": list(self.styles)}
        write_text(folder / CONFIG, json.dumps(values, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit its configuration.
        """
        try:
            values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            config, styles = validate(Config, values["config"], str(folder / CONFIG)), [str(name) for name in values["styles"]]
            network = METHODS[config.method](config, len(styles))
            network.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
        return cls(network.to(device).eval(), config, styles, name=folder.name)
