"""A diffusers folder as a model: text to picture, picture to picture, inpainting, by the pipeline that fits the request.

Unusual: one set of weights serves all three, since the library's pipelines of one kind share their parts; and nothing is taken from the
folder but data, see `folder.check`.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Card, Chunk, Request
from miaobi.models.common.picture_request import pictures_in
from miaobi.models.hf_diffusers.family import FAMILY
from miaobi.models.hf_diffusers.folder import check, variant
from miaobi.models.hf_diffusers.paint import paint
from miaobi.models.hf_diffusers.samplers import scheduler
from miaobi.models.hf_diffusers.schema import Options

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ADAPTER = "lora"


class Pipeline:
    """A Model: it generates."""

    def __init__(self, pipeline: Any, folder: Path, *, device: str = "cpu") -> None:
        self.pipeline, self.folder, self.device = pipeline, folder, device
        self.scheduler = pipeline.scheduler
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._for_task: dict[str, Any] = {"text": pipeline}
        self._lora = ""
        self._offload = "none"

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Pictures of the prompt; from a start picture where the request has one, and inside a mask where it has that too.

        Raises:
            UsageError: the pipeline cannot do this, or an option does not suit it.
            ArtifactError: the LoRA file cannot be read or does not fit.
        """
        options = Options.model_validate(dict(request.options))
        self._fit_into_memory(options)
        self._adapt(options)
        task = "mask" if pictures_in(request, "mask") else "image" if pictures_in(request) else "text"
        pipeline = self._for(task)
        pipeline.scheduler = scheduler(pipeline, self.scheduler, options.sampler, from_picture=task != "text")
        yield from paint(pipeline, request, options)

    def _for(self, task: str) -> Any:
        """The pipeline of these parts that begins at words, an image, or an image and a mask."""
        import diffusers

        if task not in self._for_task:
            maker = diffusers.AutoPipelineForInpainting if task == "mask" else diffusers.AutoPipelineForImage2Image
            try:
                made = maker.from_pipe(self.pipeline)
            except ValueError:
                name = type(self.pipeline).__name__
                raise UsageError("the pipeline {name} starts from no {task}; leave it out", name=name, task=task) from None
            made.set_progress_bar_config(disable=True)
            self._for_task[task] = made
        return self._for_task[task]

    def _adapt(self, options: Options) -> None:
        """Put the LoRA on, change its strength, or take it off."""
        if options.lora != self._lora:
            if self._lora:
                self.pipeline.unload_lora_weights()
                self._lora = ""
            if options.lora:
                self._load_lora(Path(options.lora))
                self._lora = options.lora
        if self._lora:
            self.pipeline.set_adapters([ADAPTER], [options.lora_strength])

    def _load_lora(self, path: Path) -> None:
        if path.suffix != ".safetensors" or not path.is_file():
            raise UsageError("a LoRA is a .safetensors file; {path} is none", path=path)
        if not hasattr(self.pipeline, "load_lora_weights"):
            raise UsageError("the pipeline {name} has no {option}; leave it out", name=type(self.pipeline).__name__, option="lora")
        try:
            self.pipeline.load_lora_weights(
                path.parent, weight_name=path.name, adapter_name=ADAPTER, local_files_only=True, use_safetensors=True
            )
        except Exception as error:  # the library raises anything over tensors that do not fit
            self.pipeline.unload_lora_weights()  # what it has put in by then
            raise ArtifactError("the LoRA {path} does not fit this pipeline: {error}", path=path, error=error) from None
        if ADAPTER not in {name for names in self.pipeline.get_list_adapters().values() for name in names}:
            name = type(self.pipeline).__name__  # the library only logs it
            raise ArtifactError("the LoRA {path} has no weights for the parts of the pipeline {name}", path=path, name=name)

    def _fit_into_memory(self, options: Options) -> None:
        """What the options say about memory, undone where they no longer say it."""
        pipeline, cpu = self.pipeline, self.device.startswith("cpu")
        precision = options.precision if options.precision != "auto" else "fp32" if cpu else "fp16"
        if pipeline.dtype != PRECISIONS[precision]:
            pipeline.to(PRECISIONS[precision])
        (pipeline.enable_attention_slicing if options.slicing else pipeline.disable_attention_slicing)()
        decoder = getattr(pipeline, "vae", None)
        for wanted, what in ((options.slicing, "slicing"), (options.tiling, "tiling")):
            switch = getattr(decoder, f"{'enable' if wanted else 'disable'}_{what}", None)
            if switch is not None:
                switch()
        self._move_out(options.offload, cpu=cpu)

    def _move_out(self, offload: str, *, cpu: bool) -> None:
        """Keep parts in main memory. The library can do it once for a pipeline, and not undo it."""
        if offload == self._offload:
            return
        if cpu:
            raise UsageError("offload moves weights from a GPU to main memory, where they are already on the device cpu")
        if self._offload != "none":
            raise UsageError("this pipeline was loaded with offload: {offload}. Load it again to change that", offload=self._offload)
        if offload == "model":
            self.pipeline.enable_model_cpu_offload(device=self.device)
        else:
            self.pipeline.enable_sequential_cpu_offload(device=self.device)
        self._offload = offload

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The pipeline of a folder with a `model_index.json`.

        Raises:
            ArtifactError: it would run code, unpickle weights, or cannot be read.
        """
        index = check(folder)
        import diffusers

        optional = getattr(diffusers, index["_class_name"])._optional_components
        absent = {part: None for part, origin in index.items() if origin == [None, None] and part not in optional}  # it wants to be told
        dtype = torch.float32 if device == "cpu" else torch.float16
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer releases have another name for torch_dtype, older ones only this
                maker: Any = diffusers.DiffusionPipeline
                pipeline = maker.from_pretrained(
                    folder,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    torch_dtype=dtype,
                    variant=variant(folder, index),
                    **absent,
                )
        except Exception as error:  # the library raises anything over damaged or missing parts
            raise ArtifactError("the pipeline in {folder} cannot be loaded: {error}", folder=folder, error=error) from None
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), folder, device=device)
