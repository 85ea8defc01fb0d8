"""The network of a checkpoint: our own Transformer where it computes the architecture, else the library's, both filled tensor by tensor."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from miaobi.core.errors import ArtifactError, MiaobiError
from miaobi.models.common.hub_format import ARCHITECTURES, config_from_hub, weights_from_hub
from miaobi.models.common.language import new_network
from miaobi.models.common.transformer import Transformer
from miaobi.models.hf_transformers.checkpoint import Checkpoint, refuse_giants, weight_files
from miaobi.models.hf_transformers.weights import StoredWeights

if TYPE_CHECKING:
    from miaobi.models.common.gguf_file import TensorsOf
    from miaobi.models.common.transformer_config import TransformerConfig

AUTO = {"causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "masked": "AutoModelForMaskedLM"}


class Foreign(nn.Module):
    """A causal network of the library that is called as our Transformer is: token ids (B, T) to logits (B, T, V)."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    @property
    def embed(self) -> nn.Embedding:
        """The matrix (V, W) of the tokens."""
        return self.inner.get_input_embeddings()  # type: ignore[no-any-return]

    def forward(
        self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, select: Tensor | None = None
    ) -> Tensor:
        """Logits of every place, or of those that `select` (B, T) says: (selected, V)."""
        assert positions is None, "documents are not packed for a network whose attention is its own affair"
        assert mask is None
        logits: Tensor = self.inner(input_ids=tokens, use_cache=False).logits
        return logits if select is None else logits[select]


def load(checkpoint: Checkpoint, device: str) -> Transformer | Foreign:
    """The network in fp32 on a CPU, elsewhere in the numbers that it is stored in.

    Raises:
        ArtifactError: the weights do not fit the configuration or the memory, or are damaged.
    """
    dtype = torch.float32 if device == "cpu" else None
    stored = _stored(checkpoint, dtype)
    ours = our_config(checkpoint.config) if checkpoint.kind == "causal" else None
    if ours is None and checkpoint.gguf is not None:
        raise ArtifactError(
            "{path} holds the architecture {name}, which is not read from GGUF. Take the model's safetensors folder",
            path=checkpoint.gguf,
            name=checkpoint.config.get("model_type"),
        )
    meta = build(checkpoint, ours)
    described = sum(parameter.numel() for parameter in meta.parameters())
    refuse_giants(checkpoint.folder, described=described, stored=stored.numel, bytes_each=4 if dtype else 2)
    filled: Transformer | Foreign = (
        _fill_ours(meta, stored) if isinstance(meta, Transformer) else Foreign(_fill_theirs(checkpoint, stored, dtype))
    )
    return filled.to(device).eval()


def _stored(checkpoint: Checkpoint, dtype: torch.dtype | None) -> StoredWeights | TensorsOf:
    """The weights by Hugging Face's names, whatever they lie in."""
    if checkpoint.gguf is None:
        return StoredWeights(weight_files(checkpoint.folder), dtype)
    from miaobi.models.common.gguf_file import TensorsOf

    return TensorsOf(checkpoint.gguf)


def new(checkpoint: Checkpoint, seed: int) -> Transformer | Foreign:
    """The network with random weights.

    Raises:
        ArtifactError: an architecture that is not known, or does not go on with texts.
    """
    ours = our_config(checkpoint.config)
    build(checkpoint, ours)  # a wrong configuration is named before memory is taken
    if ours is not None:
        return new_network(ours, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Foreign(_auto(checkpoint).from_config(their_config(checkpoint)))


def our_config(values: Mapping[str, Any]) -> TransformerConfig | None:
    """The shape for our Transformer, None where it does not compute this architecture or variation.

    Raises:
        ArtifactError: a key is missing or of the wrong type.
    """
    if values.get("model_type") not in ARCHITECTURES:
        return None
    try:
        return config_from_hub(values)
    except MiaobiError:
        return None  # a sliding window, another kind of rotary positions: the library computes it
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ArtifactError("config.json is damaged ({error})", error=repr(error)) from None


def build(checkpoint: Checkpoint, ours: TransformerConfig | None) -> nn.Module:
    """The network without numbers: it takes no memory, and says how many it would.

    Raises:
        ArtifactError: an unknown architecture, or a configuration that cannot be.
    """
    try:
        if ours is not None:
            with _Empty(), torch.device("meta"):
                return Transformer(ours)
        with torch.device("meta"):
            return _auto(checkpoint).from_config(their_config(checkpoint), attn_implementation="sdpa")  # type: ignore[no-any-return]
    except MiaobiError:
        raise
    except ValueError as error:
        if "attn_implementation" in str(error) or "scaled_dot_product" in str(error):  # an architecture that only has the plain attention
            with torch.device("meta"):
                return _auto(checkpoint).from_config(their_config(checkpoint), attn_implementation="eager")  # type: ignore[no-any-return]
        raise ArtifactError("{folder}: no such model can be built ({error})", folder=checkpoint.folder, error=_first_line(error)) from None
    except Exception as error:  # a wrong configuration fails in every way in which Python fails
        raise ArtifactError("{folder}: no such model can be built ({error})", folder=checkpoint.folder, error=_first_line(error)) from None


class _Empty(TorchFunctionMode):
    """No random numbers for a network of ours that is to be filled: on the device `meta` torch would import its compiler for them, which
    takes longer than to load a small model.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def their_config(checkpoint: Checkpoint) -> Any:
    """The library's configuration, from plain values alone.

    Raises:
        ArtifactError: an architecture that it does not have.
    """
    import transformers

    values = dict(checkpoint.config)
    name = str(values.pop("model_type"))
    if name not in transformers.CONFIG_MAPPING:
        raise ArtifactError(
            "{folder} holds the architecture '{name}', which transformers {version} does not have; code from a folder is never run. "
            "A newer transformers may have it (pip install --upgrade transformers), or take the model as GGUF or in another family",
            folder=checkpoint.folder,
            name=name,
            version=transformers.__version__,
        )
    return transformers.CONFIG_MAPPING[name].from_dict(values)


def _auto(checkpoint: Checkpoint) -> Any:
    import transformers

    return getattr(transformers, AUTO[checkpoint.kind])


def _fill_ours(network: Transformer, tensors: Mapping[str, Tensor]) -> Transformer:
    """Put the tensors in place of the empty ones."""
    state = weights_from_hub(network.config, tensors)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ArtifactError("the weights do not fit config.json: {error}", error=_first_line(error)) from None
    if network.config.tied:
        network.head.weight = network.embed.weight
    if network.config.positions != "rotary":
        network.frequencies = torch.empty(0)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def _fill_theirs(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> nn.Module:
    """The library's own loading, from tensors in memory: it looks for no file, no adapter and no code."""
    config, maker = their_config(checkpoint), _auto(checkpoint)
    kind = type(config)
    class_ = maker._model_mapping[kind]
    class_ = class_[0] if isinstance(class_, tuple | list) else class_
    load = functools.partial(class_.from_pretrained, None, config=config, state_dict=dict(tensors), output_loading_info=True)
    with _quiet():
        try:
            network, info = load(dtype=dtype or "auto", use_safetensors=True, local_files_only=True)
        except Exception as error:
            raise ArtifactError("the weights do not fit config.json: {error}", error=_first_line(error)) from None
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise ArtifactError("the weights lack {count} tensors, the first is {name}", count=len(names), name=names[0])
    return network  # type: ignore[no-any-return]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and warnings of the library while it loads."""
    import transformers

    talk: Any = transformers.logging
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
