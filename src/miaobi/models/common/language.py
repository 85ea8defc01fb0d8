"""A causal language model on the shared Transformer: what `gpt` and `verse` have in common, and no more.

A subclass brings the codec and turns a request into prompts; the loss, scoring and the files are here.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError, unknown
from miaobi.core.protocols import Batch, HubNames, Loss
from miaobi.engine.sampling.stepper import Stepper
from miaobi.models.common.decoder_weights import PREFIX, Array, Tensors
from miaobi.models.common.hub_format import config_from_hub, config_to_hub, hub_modules, read_config, weights_from_hub, weights_to_hub
from miaobi.models.common.transformer import TorchStepper, Transformer
from miaobi.models.common.transformer_config import TransformerConfig
from miaobi.models.common.weights import WEIGHTS, reading_weights, save_weights

if TYPE_CHECKING:
    from miaobi.models.common.decoder_graph import OnBytes

CONFIG = "config.json"


class CausalLoss:
    """Next-token cross-entropy in nats, summed over the positions that the batch weighs."""

    phases: tuple[str, ...] = ("main",)
    recites: bool = True  # it goes on with what it is given (`engine.extraction`)

    def __init__(self, network: Transformer, *, label_smoothing: float = 0.0) -> None:
        self.network = network
        self.label_smoothing = label_smoothing

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """`tokens` (B, T + 1); `weights` (B, T) True at targets that count; `segments` (B, T) numbers packed documents."""
        targets = batch["tokens"][:, 1:][batch["weights"]]
        smoothing = self.label_smoothing if self.network.training else 0.0
        total = F.cross_entropy(self.logits(batch).float(), targets, reduction="sum", label_smoothing=smoothing)
        return Loss(total=total, count=len(targets))

    def logits(self, batch: Batch, /) -> Tensor:
        """Logits (selected, V) of the targets that count, row by row."""
        positions, mask = packed_attention(batch["segments"]) if "segments" in batch else (None, None)
        logits: Tensor = self.network(batch["tokens"][:, :-1], positions=positions, mask=mask, select=batch["weights"])
        return logits

    def stepper(self) -> Stepper:
        """What decoding goes on with."""
        return TorchStepper(self.network.eval())

    def graph(self, folder: Path, form: str, *, group: int | None = None) -> Stepper:
        """Write the graph of that form (fp32, int8, int4) beside the saved weights in `folder`, and step through it."""
        from miaobi.models.common import decoder_graph
        from miaobi.models.common.decoder_runtime import OnnxStepper

        precision = cast("decoder_graph.Precision", form)
        decoder_graph.write(folder, precisions=[precision], group=group)
        return OnnxStepper(folder, precision=precision)

    def to_hub(self, folder: Path, /) -> dict[str, float]:
        """Write a folder for `transformers`, and compare what it computes there."""
        from miaobi.models.common import hub_export

        return hub_export.to_hub(self, folder)

    def to_gguf(self, path: Path, /, *, form: str, name: str, licence: str = "") -> dict[str, float]:
        """Write a GGUF file, and compare what it says."""
        from miaobi.models.common import hub_export

        return hub_export.to_gguf(self, path, form=form, name=name, licence=licence)

    def hub_names(self) -> HubNames:
        """The matrices that may get additions of low rank, with the names that others know."""
        return hub_modules(self.network.config)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Every parameter that asks for a gradient."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)


def packed_attention(segments: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B, T) that start anew in each document, and a mask (B, 1, T, T) that keeps documents apart."""
    T = segments.shape[1]
    columns = torch.arange(T, device=segments.device)
    starts = torch.where(F.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True), columns, 0)
    positions = columns - starts.cummax(dim=1).values
    same = segments[:, None, :, None] == segments[:, None, None, :]
    return positions, same & (columns[None, :] <= columns[:, None])


@torch.inference_mode()
def token_bits(network: Transformer, sequences: Sequence[Sequence[int]], *, batch: int = 32) -> Iterator[Tensor]:
    """-log2 p of every token but the first, one (T - 1,) tensor a sequence, in order."""
    device = network.embed.weight.device
    for start in range(0, len(sequences), batch):
        part = sequences[start : start + batch]
        longest = max(len(sequence) for sequence in part)
        tokens = torch.zeros((len(part), longest), dtype=torch.long)
        for row, sequence in enumerate(part):
            tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        tokens = tokens.to(device)
        logits = network(tokens[:, :-1]).float()  # (B, T - 1, V)
        nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(len(part), -1)
        for row, sequence in enumerate(part):
            yield nats[row, : len(sequence) - 1].cpu() / math.log(2)


def shape(config: Mapping[str, Any], *, vocab_size: int) -> TransformerConfig:
    """The Llama-like network that a family's plain words (width, layers, heads …) describe."""
    width, heads = int(config["width"]), int(config["heads"])
    hidden = int(config["hidden"]) or -(-width * 8 // 3 // 32) * 32
    return TransformerConfig(
        vocab_size=vocab_size,
        width=width,
        layers=int(config["layers"]),
        heads=heads,
        key_heads=int(config["key_heads"]) or heads,
        head_width=width // heads,
        hidden=hidden,
        context=int(config["context"]),
        dropout=float(config["dropout"]),
    )


def new_network(config: TransformerConfig, seed: int) -> Transformer:
    """A Transformer with random weights drawn from `seed`."""
    network = Transformer(config)
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def save_network(network: Transformer, folder: Path, *, dtype: torch.dtype = torch.float32, **tokens: int | None) -> None:
    """`config.json` and `model.safetensors` with Hugging Face's names; `tokens` adds bos_token_id and the like."""
    save_weights(weights_to_hub(network.config, network.state_dict()), folder, dtype=dtype)
    hub = config_to_hub(network.config, **tokens) | {"dtype": str(dtype).removeprefix("torch.")}
    write_text(folder / CONFIG, json.dumps(hub, indent=2, ensure_ascii=False) + "\n")


def stored_format(config: Mapping[str, Any]) -> torch.dtype:
    """The number format that `save_network` wrote into `config.json`."""
    return torch.float16 if config.get("dtype") == "float16" else torch.float32


def load_network(folder: Path, *, device: str = "cpu") -> Transformer:
    """The Transformer that `save_network` or `transformers` saved, in fp32.

    Raises:
        ArtifactError: a file is missing, unreadable or does not fit its configuration.
    """
    config = config_from_hub(read_config(folder))
    with reading_weights(folder):
        tensors = load_file(folder / WEIGHTS)
        network = Transformer(config)
        network.load_state_dict(weights_from_hub(config, tensors))
    return network.float().to(device).eval()


class NetworkTensors(Tensors):
    """A network's weights as they are in memory, for graphs of what no file holds so: GGUF's blocks, a base with its adapter."""

    def __init__(self, network: Transformer) -> None:
        named = weights_to_hub(network.config, network.state_dict())
        self._tensors = {name.removeprefix(PREFIX): tensor for name, tensor in named.items()}

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name].float().cpu().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def export_graphs(
    network: Transformer,
    folder: Path,
    formats: Sequence[str],
    prompts: Sequence[Sequence[int]],
    *,
    stored: bool = True,
    on_bytes: OnBytes | None = None,
) -> dict[str, dict[str, float]]:
    """Write `onnx/` into `folder` and compare its next-token logits with torch's on `prompts`.

    `stored` says that the weights lie saved in the folder, which need not be converted then; `on_bytes` is told how much of which file is
    written.

    Returns for each format the largest error of a logit, as a share of the largest logit, and the share of prompts with the same likeliest
    token.

    Raises:
        UsageError: an unknown format.
        ArtifactError: the fp32 graph is off by more than 1e-3, so it is not kept.
    """
    from miaobi.models.common import decoder_graph
    from miaobi.models.common.decoder_runtime import OnnxStepper

    for name in formats:
        if name not in decoder_graph.FILES:
            raise unknown("format", name, decoder_graph.FILES)
    chosen = [cast("decoder_graph.Precision", name) for name in formats]
    decoder_graph.write(folder, precisions=chosen, tensors=None if stored else NetworkTensors(network), on_bytes=on_bytes)
    expected = TorchStepper(network.eval()).start(prompts).float().cpu().numpy()
    errors = {}
    for name in formats:
        found = OnnxStepper(folder, precision=cast("decoder_graph.Precision", name)).start(prompts)
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        errors[name] = {"logit_error": error, "same_likeliest": float((found.argmax(-1) == expected.argmax(-1)).mean())}
        if name == "fp32" and error > 1e-3:
            shutil.rmtree(folder / "onnx")
            raise ArtifactError(
                "the exported graph differs from the model by {error:.1%} of the largest logit; it was not kept", error=error
            )
    return errors
