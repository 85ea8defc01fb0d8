"""A recipe is one model's whole life: data, model, train, adapt (or prefer, reinforce, distill), evaluate, generate, trust, scale.

Every section is frozen and refuses unknown keys. `presets` holds named changes (`cpu`, `gpu`); `--set a.b=c` comes last and wins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from miaobi.core.adapting import Adapt, Distill, Prefer, Reinforce, check_aims
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.schema import Schema, validate

VERSION = 1
MALFORMED = 1000
Step = str | dict[str, Any]


def without_unset(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Plain values without the younger keys that say nothing: a data section of before keeps its hash, and so its data set."""
    return {key: value for key, value in values.items() if value or key not in names}


class Source(Schema):
    """Where records come from."""

    path: str
    """A file, folder, glob, or `npm:`, `pypi:`, `hf:` name (`npm:chinese-poetry@2.0.1`)."""
    files: str = "**/*"
    """A glob inside a folder, archive or package."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Which keys of a row become `text` and which become `meta`: `{text: paragraphs, title: title}`."""
    meta: dict[str, str] = Field(default_factory=dict)
    """Constant meta of every record from here (`era: 唐`)."""
    licence: str = ""
    """The licence of what comes from here; it goes into the data card and the model card."""
    encoding: str = ""
    """Detected when empty."""
    shape: list[int] = Field(default_factory=list, max_length=2)
    """Height and width of pictures that `fields.image` names as rows of numbers: `[28, 28]`."""

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(plain(self), ("shape",))


class Split(Schema):
    """Shares held out. Near-duplicates stay on one side."""

    val: float = Field(0.01, ge=0, lt=1)
    """The share that training is watched on and `evaluate` measures."""
    test: float = Field(0.0, ge=0, lt=1)
    """A further share, for `evaluate.split: test`."""
    seed: int = 0
    """Which records are held out."""
    by: str = ""
    """A field of meta whose equal values stay on one side: `concept`."""
    hold: int = Field(0, ge=0)
    """So many values of `by` go whole into the split `test`; their records have `held: group` in meta."""
    pairs: int = Field(0, ge=0)
    """So many pairs of `by` and `across` go into `test` whose value of `by` stays in training otherwise; they have `held: pair` in meta."""
    across: str = ""
    """The field of meta that tells records of one value of `by` apart: `style`."""

    @model_validator(mode="after")
    def _complete(self) -> Split:
        if (self.hold or self.pairs) and not self.by:
            raise ValueError(tr("`hold` and `pairs` need `by`, the field of meta whose values are held out"))
        if self.pairs and not self.across:
            raise ValueError(tr("`pairs` needs `across`, the field of meta that tells the records of one value of `by` apart"))
        return self

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(plain(self), ("by", "hold", "pairs", "across"))


class Tokenizer(Schema):
    """The tokenizer that `prepare` trains and saves as `tokenizer.json`."""

    kind: Literal["character", "bpe", "unigram"] = "character"
    """Characters, byte-level byte pairs, or a unigram model."""
    size: int = Field(8000, ge=16, le=1_000_000)
    """The most tokens that the vocabulary has."""
    min_count: int = Field(1, ge=1)
    """What occurs less often is unknown (kind `character`)."""


class Data(Schema):
    """From sources to a `Dataset`."""

    source: str | Source | list[Source] = ""
    """A path or package, one source with its fields, or a list of sources."""
    steps: list[Step] = Field(default_factory=list)
    """What is done to every record, in order: a step's name, or `{name: argument}`; see the page on data."""
    split: Split = Split()
    """What is held out."""
    tokenizer: Tokenizer | None = None
    """The tokenizer to train; families that work on characters of their own need none."""
    limit: int | None = Field(None, ge=1)
    """Stop after so many records (for a try)."""
    malformed: int = Field(MALFORMED, ge=0)
    """So many malformed conversations are skipped, counted and listed in `dropped.jsonl`; one more is an error."""

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = plain(self)
        return {key: value for key, value in values.items() if (key, value) != ("malformed", MALFORMED)}  # as `without_unset`

    def sources(self) -> list[Source]:
        """The sources as a list, whichever way they were written."""
        if isinstance(self.source, str):
            return [Source(path=self.source)] if self.source else []
        return [self.source] if isinstance(self.source, Source) else list(self.source)


class ModelSection(Schema):
    """A new model of a family, or one that starts from another's weights."""

    family: str = ""
    """A new model of this family: `ngram`, `gpt`, `verse` … (`miaobi models` lists them)."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What the family is made of; each family has its own keys."""
    base: str = ""
    """A built-in name, an artifact folder or a hub name, whose weights are the start."""

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSection:
        if not self.family and not self.base:
            raise ValueError("give `family` (a new model) or `base` (an existing one)")
        return self


class Optimizer(Schema):
    """How gradients move weights. Norms and biases are never decayed."""

    name: Literal["adamw", "sgd", "lion", "muon"] = "adamw"
    """Which rule moves the weights."""
    lr: float = Field(3e-4, gt=0)
    """The largest learning rate; the schedule scales it."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the averages of gradient and squared gradient (adamw, lion)."""
    eps: float = Field(1e-8, gt=0)
    """Keeps divisions by zero away (adamw)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Decay of the running gradient (sgd)."""
    weight_decay: float = Field(0.1, ge=0)
    """How strongly weights are pulled to zero, apart from the gradient."""


class Schedule(Schema):
    """The learning rate over the steps, as a share of `lr`."""

    name: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """Constant, linear, cosine, or warm-up–stable–decay."""
    warmup: int = Field(100, ge=0)
    """So many steps the rate rises from zero."""
    decay: float = Field(0.2, ge=0, le=1)
    """wsd: the share of all steps that the final decay takes."""
    floor: float = Field(0.1, ge=0, le=1)
    """The rate at the end."""


class EarlyStopping(Schema):
    """Stop when the validation loss has not fallen for so many evaluations."""

    patience: int = Field(5, ge=1)
    """So many evaluations in a row without a better validation loss end the training."""
    min_delta: float = Field(0.0, ge=0)
    """The loss has to fall by more than this to count as better."""


class Train(Schema):
    """The training loop. `batch` records make one optimizer step, `micro` of them go through the network at once."""

    steps: int = Field(1000, ge=1)
    """How many times the weights move."""
    batch: int = Field(32, ge=1)
    """Records for one step."""
    micro: int | None = Field(None, ge=1)
    """Records that go through the network at once; the gradients of a batch add up exactly. The whole batch when absent."""
    optimizer: Optimizer = Optimizer()
    """How gradients move weights."""
    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Where a family learns in several phases: what a phase's optimizer has otherwise, such as `{discriminator: {lr: 4.0e-4}}`."""
    schedule: Schedule = Schedule()
    """The learning rate over the steps."""
    clip: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 is no clipping."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers of the forward pass; `auto` tries bf16 on this machine and takes it where it is faster."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the weights' moving average, which is then what is evaluated and kept; 0 is none."""
    batching: Literal["shuffled", "bucketed", "packed"] = "shuffled"
    """`bucketed` groups records of like length; `packed` fills rows of the model's context."""
    early_stopping: EarlyStopping | None = None
    """When to stop before `steps`; never when absent."""
    evaluate_every: int = Field(500, ge=1)
    """Compute the validation loss every so many steps."""
    evaluate_records: int = Field(512, ge=1)
    """On so many records of the split `val`."""
    checkpoint_every: int = Field(500, ge=1)
    """Save everything that a resume needs every so many steps."""
    keep_checkpoints: int = Field(2, ge=2)
    """How many of them are kept: after a crash in a save the one before is whole."""
    sample_every: int = Field(0, ge=0)
    """Generate the recipe's prompts every so many steps; 0 is never."""
    log_every: int = Field(10, ge=1)
    """Write a line of `log.jsonl` every so many steps."""
    tensorboard: bool = False
    """Also write the log for TensorBoard, into the run's folder."""
    compile: bool = False
    """Compile the network by torch."""
    deterministic: bool = False
    """Only operations that give the same bits every time."""
    seed: int = 0
    """Of the weights, the order of the records and dropout."""

    @model_validator(mode="after")
    def _phases_are_of_one_optimizer(self) -> Train:
        for name, changes in self.phases.items():
            if "name" in changes:
                raise ValueError(tr("all phases have the optimizer of train.optimizer.name; '{name}' cannot have another", name=name))
            self.optimizer_of(name)
        return self

    def optimizer_of(self, phase: str) -> Optimizer:
        """The optimizer of a phase."""
        changes = self.phases.get(phase, {})
        return Optimizer.model_validate(self.optimizer.model_dump() | changes) if changes else self.optimizer


class Evaluate(Schema):
    """Which figures to compute on the held-out split."""

    metrics: list[str] = Field(default_factory=list)
    """Names of metrics; all that the model and the data can give when empty."""
    split: Literal["val", "test"] = "val"
    """Which held-out records are measured."""
    records: int = Field(1000, ge=1)
    """How many held-out records are scored, drawn at random by the seed."""
    samples: int = Field(200, ge=1)
    """How many contents are generated for the figures that look at them."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of those contents, laid over the options of `generate`."""
    baselines: list[str] = Field(default_factory=list)
    """Artifact folders whose scores stand beside, or `ngram:5`: an n-gram fitted on the same training records."""
    scorer: str = "scorer"
    """Pictures: the model (its name or folder, of the family `scorer`) that judges whether they show their captions; none when empty."""
    training: int = Field(20_000, ge=1)
    """Pictures: among how many training pictures, drawn at random, the nearest of each sample is looked for."""
    by: str = ""
    """Pictures: a field of meta (`held`, `style`) by whose values all figures are also given apart: `retrieval_zh@pair`."""


class Generate(Schema):
    """What the sample previews and `miaobi generate RECIPE` ask."""

    prompts: list[str] = Field(default_factory=list)
    """What is asked."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the family, as `miaobi generate` takes them."""
    seed: int = 0
    """The seed of the first prompt; each further one takes the next."""


class Trust(Schema):
    """How outputs are labelled and the model is licensed."""

    licence: str = ""
    """The licence of the model, for its manifest and card."""
    watermark: Literal["", "image", "sound"] = ""
    """The watermark that outputs carry: `image`, an invisible mark in the pixels of pictures; `sound`, an inaudible one; or none."""


class Scale(Schema):
    """How many compute."""

    launcher: Literal["local"] = "local"
    """Where: on this machine."""
    workers: int = Field(1, ge=1, le=64)
    """How many processes of this machine train together; each takes its share of every batch and of the cores (with `cuda`, a GPU each)."""


class Recipe(Schema):
    """One model's whole life."""

    version: Literal[1] = 1
    """The version of this grammar."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The name of the model, its run and its data; letters, digits, dots, dashes and underscores."""
    summary: str = ""
    """One sentence for the model card."""
    data: Data = Data()
    """From sources to a dataset."""
    model: ModelSection
    """What is trained."""
    train: Train = Train()
    """How it is trained."""
    adapt: Adapt | None = None
    """How an existing model is changed; needs `model.base`."""
    prefer: Prefer | None = None
    """What is learned from pairs of a better and a worse answer; needs `model.base`."""
    reinforce: Reinforce | None = None
    """What is learned from rewards; needs `model.base`."""
    distill: Distill | None = None
    """Which larger model is the teacher."""
    evaluate: Evaluate = Evaluate()
    """What is measured."""
    generate: Generate = Generate()
    """What previews ask."""
    trust: Trust = Trust()
    """Licence and marks."""
    scale: Scale = Scale()
    """Where it runs."""

    @model_validator(mode="after")
    def _one_aim(self) -> Recipe:
        sections = {"adapt": self.adapt, "prefer": self.prefer, "reinforce": self.reinforce, "distill": self.distill}
        check_aims([name for name, section in sections.items() if section is not None], base=self.model.base)
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], *, preset: str = "", overrides: Sequence[str] = (), where: str = "recipe") -> Recipe:
        """A recipe from plain values: the preset's changes, then `a.b=c` overrides, then validation.

        Raises:
            UsageError: an unknown key (with the nearest known one), a wrong value, an unknown preset, a newer version.
        """
        merged = dict(values)
        presets = merged.pop("presets", {})
        if isinstance(merged.get("version"), int) and merged["version"] > VERSION:
            raise UsageError(
                "{where} has version {number}; this miaobi reads up to {known}. Update miaobi",
                where=where,
                number=merged["version"],
                known=VERSION,
            )
        if not isinstance(presets, Mapping) or not all(isinstance(change, Mapping) for change in presets.values()):
            raise UsageError("{where}: `presets` should be named mappings of changes", where=where)
        if preset:
            if preset not in presets:
                raise unknown("preset", preset, map(str, presets))
            merged = _merge(merged, presets[preset])
        for override in overrides:
            merged = _merge(merged, _override(override))
        return validate(cls, merged, where)

    @classmethod
    def load(cls, path: Path, *, preset: str = "", overrides: Sequence[str] = ()) -> Recipe:
        """The recipe in a YAML file; see `of`. `data: painter.yaml` is the data section of the recipe beside it."""
        values = read_yaml(path)
        if isinstance(values.get("data"), str):
            values["data"] = _data_of(path.parent / values["data"])
        return cls.of(values, preset=preset, overrides=overrides, where=str(path))

    def to_yaml(self) -> str:
        """The whole recipe, defaults filled in, as YAML."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, by the safe loader: tags that would build objects are refused.

    Raises:
        UsageError: no such file, not YAML, or not a mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes no key twice: YAML itself would let the last one win without a word."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            known: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    if key.value in known:
                        line = key.start_mark.line + 1
                        raise UsageError("{path}: line {line}: '{key}' stands twice", path=path, line=line, key=key.value)
                    known.add(key.value)
            return super().construct_mapping(node, deep=deep)

    try:
        values = Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise UsageError("there is no recipe at {path}", path=path) from None
    except IsADirectoryError:
        raise UsageError("{path} is a folder; name the recipe file in it", path=path) from None
    except UnicodeDecodeError:
        raise UsageError("{path} is not UTF-8 text, so it is no recipe", path=path) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise UsageError(
            "{path} is not YAML: {problem} (line {line})", path=path, problem=getattr(error, "problem", error), line=line
        ) from None
    except (ValueError, RecursionError) as error:  # a date such as 2026-13-45, a number of 5000 digits, 10,000 brackets
        raise UsageError("{path} holds a value that YAML cannot read ({problem})", path=path, problem=error) from None
    except PermissionError:
        raise UsageError("no permission to read {path}", path=path) from None
    if not isinstance(values, dict):
        raise UsageError("{path} holds no recipe: it should be a mapping that begins with `version: 1`", path=path)
    return values


def _data_of(path: Path) -> Any:
    """The data section of another recipe, which writes it out itself: who reads one of them has at most two files to read."""
    section = read_yaml(path).get("data")
    if not isinstance(section, Mapping):
        raise UsageError("{path} has no data section of its own to share; name the recipe that writes it out", path=path)
    return section


def _override(text: str) -> dict[str, Any]:
    """`train.steps=10` as nested mappings; the value is YAML, so `null`, `[a, b]` and `1e-3` mean what they look like."""
    import yaml

    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError("--set takes key.path=value, not '{text}'", text=text)
    try:
        nested: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError("--set {text}: the value is not YAML", text=text) from None
    if isinstance(nested, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as text; people mean the number
            nested = float(nested) if any(digit.isdigit() for digit in nested) else nested
    for key in reversed(path.split(".")):
        nested = {key: nested}
    assert isinstance(nested, dict)
    return nested


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in change.items():
        before = merged.get(key)
        merged[key] = _merge(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged
