"""A model by name or folder, ready to write: its files checked, its runtime chosen, what is asked of it put into a request.

Whatever is slow to import is imported where it is used, so that naming a model costs a few milliseconds.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from miaobi.core.artifact import ADAPTER, Artifact, open_artifact
from miaobi.core.errors import ArtifactError, UsageError, unknown
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.shelf import find
from miaobi.core.types import NOTHING, Card, Chunk, Content, Modality, Part, Request

if TYPE_CHECKING:
    from collections.abc import Generator

    from miaobi.core.protocols import Model
    from miaobi.engine.inputs import Given, Picture
    from miaobi.trust.marking import Marking

DEVICES = ("cpu", "cuda", "mps")
RUNTIMES = ("auto", "onnx", "torch")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to write. `keeper` takes contents into the library, which stands above the engine: the API brings it."""

    model: Model
    family: Family
    artifact: Artifact
    keeper: Callable[[Content], object] | None = None

    @property
    def card(self) -> Card:
        """Who the model is."""
        return self.model.card

    def generate(
        self,
        prompt: str = "",
        *,
        n: int = 1,
        seed: int | None = None,
        image: Picture | Sequence[Picture] | None = None,
        mask: Picture | None = None,
        mark: str = "none",
        watermark: str | None = None,
        keep: bool = False,
        **options: Any,
    ) -> list[Content]:
        """`n` labelled contents. Without a seed a new one is drawn; the label tells it, so that it can be made again.

        Args:
            image: a picture to start from, for families that take one: a path, bytes, `Media`, a Pillow image or a uint8 array.
            mask: its white pixels are painted anew. What else the family takes (`sound`, `music`) goes by its name.
            mark: words in a corner of a picture or in the opening of a film: `zh`, `en`, `auto` (the language of messages) or `none`; a
                sound gets the rhythm ·– ·· before it, whichever is chosen.
            watermark: `image` or `sound` puts a mark in that nobody notices, `none` does not; by default as the model's recipe says.
            keep: put the contents into the library, too.

        Raises:
            UsageError: an unknown or impossible option, or a picture that the family does not take.
            DataError: a picture that cannot be read.
        """
        from miaobi.engine.generate import collect

        request = _request(self.family, prompt, n, seed, {**options, "image": image, "mask": mask})
        contents = collect(self.model, request, marking=self._marking(mark, watermark))
        for content in contents if keep else ():
            self._keep(content)
        return contents

    def stream(
        self,
        prompt: str = "",
        *,
        n: int = 1,
        seed: int | None = None,
        image: Picture | Sequence[Picture] | None = None,
        mask: Picture | None = None,
        mark: str = "none",
        watermark: str | None = None,
        keep: bool = False,
        **options: Any,
    ) -> Iterator[Chunk | Content]:
        """Pieces and progress (with previews, where the family shows them) as they are made, and every content when it is complete.

        Closing the iterator cancels. The arguments are those of `generate`.
        """
        from miaobi.engine.generate import run

        request = _request(self.family, prompt, n, seed, {**options, "image": image, "mask": mask})
        chunks = run(self.model, request, marking=self._marking(mark, watermark))
        return self._kept(chunks) if keep else chunks

    def answer(
        self,
        request: Request,
        *,
        given: Mapping[str, Given | Sequence[Given]] = NOTHING,
        mark: str = "none",
        watermark: str | None = None,
        created: str = "",
    ) -> Iterator[Chunk | Content]:
        """`stream` for a request that is put together already, of several turns perhaps; `given` joins the last turn of the user, `created`
        is the time in the labels (by default now)."""
        from miaobi.engine.generate import run

        return run(self.model, with_given(self.family, request, given), created=created, marking=self._marking(mark, watermark))

    def _kept(self, chunks: Iterator[Chunk | Content]) -> Iterator[Chunk | Content]:
        """The same chunks, every content put into the library before it is given out."""
        with closing(cast("Generator[Chunk | Content]", chunks)):
            for chunk in chunks:
                if isinstance(chunk, Content):
                    self._keep(chunk)
                yield chunk

    def _keep(self, content: Content) -> None:
        assert self.keeper is not None, "a model that was loaded through the API has a library to keep contents in"
        self.keeper(content)

    def _marking(self, mark: str, watermark: str | None) -> Marking:
        from miaobi.trust.marking import Marking

        if not self.card.outputs & {Modality.IMAGE, Modality.AUDIO, Modality.VIDEO}:
            if (mark or "none") != "none" or (watermark or "none") != "none":
                raise UsageError("{model} makes nothing that can be marked: no pictures, sounds or films", model=self.card.name)
            return Marking()
        recipe = self.artifact.folder / "recipe.yaml"
        if watermark is None and recipe.is_file():
            from miaobi.core.recipe import Recipe

            watermark = Recipe.load(recipe).trust.watermark
        return Marking.of(mark, watermark or "none")


def _request(kind: Family, prompt: str, n: int, seed: int | None, options: Mapping[str, Any]) -> Request:
    """What is asked; pictures, sounds and the like among the options become parts of the user's turn."""
    if seed is None:
        import secrets

        seed = secrets.randbits(31)
    pictures = {name: value for name, value in options.items() if name in {"image", "mask", *kind.inputs} and value is not None}
    plain = {name: value for name, value in options.items() if name not in {"image", "mask", *kind.inputs}}
    given: tuple[Part, ...] = ()
    if pictures:
        from miaobi.engine.inputs import media

        given = media(kind, pictures)
    return Request.of((prompt, *given), seed=seed, **({"n": n} if n != 1 else {}), **plain)


def with_given(kind: Family, request: Request, given: Mapping[str, Given | Sequence[Given]]) -> Request:
    """The request with pictures, sounds and the like behind what the user said last.

    Raises:
        UsageError: the family takes no such part, or no user says anything.
        DataError: a part that cannot be read.
    """
    if not given:
        return request
    from miaobi.engine.inputs import media

    last = max((place for place, turn in enumerate(request.turns) if turn.role == "user"), default=-1)
    if last < 0:
        raise UsageError("a picture, a sound or the like belongs to a turn of the user, and there is none")
    turn = request.turns[last]
    turn = dataclasses.replace(turn, parts=(*turn.parts, *media(kind, given)))
    return dataclasses.replace(request, turns=(*request.turns[:last], turn, *request.turns[last + 1 :]))


def load(model: str | Path, *, runtime: str = "auto", device: str = "cpu", threads: int | None = None) -> Loaded:
    """A model by name (`poet`), artifact folder or run folder, its files checked against their hashes.

    Args:
        runtime: `onnx` computes the exported graph without torch; `torch` the weights; `auto` takes the graph on a CPU when it is there,
            unless the environment's `MIAOBI_RUNTIME` says `torch`.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: cores to use; the library decides when absent.

    Raises:
        UsageError: an unknown name or runtime.
        ArtifactError: the files are missing, damaged or of a newer format.
        MissingExtra: the family needs a package that is not installed.
    """
    artifact = open_artifact(find(model), verify=True)
    kind = family(artifact.family)
    choice = choose(artifact, kind, runtime=runtime, device=device)
    check_device(device)
    if choice.merges:
        return _adapted(artifact, kind, device, threads)
    light = kind.runtime_class() if choice.light else None
    loaded: Model = _made(light or kind.model_class(), artifact, device, threads)
    loaded.card = dataclasses.replace(
        loaded.card,
        name=artifact.name,
        source=artifact.sha256,
        licence=artifact.licence,
        runtime=choice.computes or loaded.card.runtime,
    )
    return Loaded(loaded, kind, artifact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What computes a model, and why: "" where the family says so itself."""

    computes: str = ""
    why: str = ""
    light: bool = False  # the family's runtime, without torch
    merges: bool = False  # an adapter is put onto the weights of its base


def choose(artifact: Artifact, kind: Family, *, runtime: str = "auto", device: str = "cpu") -> Choice:
    """What will compute the model.

    Raises:
        UsageError: an unknown runtime.
        ArtifactError: `runtime` is `onnx`, and there is no graph.
    """
    if runtime == "auto":
        runtime = _preferred(artifact)
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    graph = _graph(artifact, kind)
    if runtime == "onnx" and not graph:
        raise ArtifactError("{folder} holds no ONNX graph. Write one with: miaobi export {folder}", folder=artifact.folder)
    # Whose base.json names the base by its hash; another's adapter only names a place.
    adapter = ADAPTER in artifact.files and "base.json" in artifact.files
    weights = Choice(computes="torch" if "torch" in kind.packages else "", merges=adapter)
    if not kind.runtime:
        return dataclasses.replace(weights, why=tr("its family has no other runtime") if weights.computes else "")
    if runtime == "torch" or device != "cpu":
        return dataclasses.replace(weights, why=tr("it was asked for") if runtime == "torch" else tr("graphs run on a CPU"))
    if kind.graphless and not adapter:
        return Choice(computes="numpy", why=tr("its family computes the weights as they are"), light=True)
    if graph:
        return Choice(computes="onnx", why=tr("its graph is there: {file}", file=graph), light=True)
    return dataclasses.replace(weights, why=_without(artifact, adapter))


def _preferred(artifact: Artifact) -> str:
    """What the environment prefers, where the model can: one without its weights has only its graph."""
    wanted = os.environ.get("MIAOBI_RUNTIME") or "auto"
    if wanted not in RUNTIMES:
        raise unknown("runtime", wanted, RUNTIMES)
    return wanted if wanted == "torch" and artifact.weights_sha256 else "auto"


def _graph(artifact: Artifact, kind: Family) -> str:
    """The graph that the family's runtime takes; "" where there is none."""
    graphs = [name for name in artifact.files if name.startswith("onnx/") and name.endswith(".onnx")]
    if not graphs or not kind.runtime:
        return ""
    if len(graphs) > 1 and hasattr(light := kind.runtime_class(), "file"):
        return str(light.file(artifact.folder))  # type: ignore[union-attr]
    return ", ".join(graphs)


def _without(artifact: Artifact, adapter: bool) -> str:
    """Why a model that could have a graph has none."""
    if adapter:
        return tr("an adapter is put onto the weights of its base; miaobi export {name} writes a graph of both", name=artifact.name)
    reason = pulled(artifact.folder).get("graph", {}).get("without")
    if reason:
        return tr("there is no graph: {reason}", reason=reason)
    return tr("there is no graph; miaobi export {name} writes one", name=artifact.name)


def pulled(folder: Path) -> dict[str, Any]:
    """What `pull` wrote down of a model; nothing of one that was not pulled."""
    try:
        values = json.loads((folder / "pulled.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _adapted(artifact: Artifact, kind: Family, device: str, threads: int | None) -> Loaded:
    """The base of an adapter with the adapter merged into it, under the adapter's name."""
    kind.model_class()  # a missing extra is named
    from miaobi.engine import adapter

    model = load(adapter.base_of(artifact).folder, runtime="torch", device=device, threads=threads).model
    adapter.put_on(model, artifact)
    model.card = dataclasses.replace(model.card, name=artifact.name, source=artifact.sha256, licence=artifact.licence)
    return Loaded(model, kind, artifact)


def check_device(device: str) -> None:
    """Refuse a device that does not exist before anything is loaded onto it."""
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        raise unknown("device", device, DEVICES)
    if kind == "cpu" or importlib.util.find_spec("torch") is None:  # without torch the family names its missing extra
        return
    import torch

    there = torch.cuda.device_count() > int(number or 0) if kind == "cuda" else torch.backends.mps.is_available()
    if not there:
        raise UsageError("this machine has no device {device} that torch can use; choose another, such as cpu", device=device)


def _made(maker: type[Model], artifact: Artifact, device: str, threads: int | None) -> Model:
    import inspect
    import sys

    if threads is None:
        return maker.load(artifact.folder, device=device)
    if "threads" in inspect.signature(maker.load).parameters:  # a runtime with a thread pool of its own
        return maker.load(artifact.folder, device=device, threads=threads)  # type: ignore[call-arg]
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return maker.load(artifact.folder, device=device)
