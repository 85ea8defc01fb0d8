"""The model card: `README.md` of an artifact, in English and Chinese, from what was recorded and not from memory.

The head is the Hub's metadata (licence, tags, `model-index` with the figures), so a card reads the same on Hugging Face and on disk.
Every number comes from the recipe, the data card, the training log or `eval.json`; what was not recorded is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miaobi.core.artifact import Artifact, write_text
from miaobi.core.families import families
from miaobi.core.recipe import Recipe
from miaobi.core.types import NOTHING, Modality
from miaobi.engine.report.log import Log, read_log
from miaobi.engine.report.plot import number

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
TEMPLATES = Path(__file__).parent / "report"
EXAMPLES = 3
TESTS = {"paired bootstrap": "配对自助法", "bootstrap of each": "各自自助法", "half-samples": "半样本法"}
MAIN = (  # what the Hub's metadata lists, where it was measured
    "bits_per_character",
    "perplexity",
    "distinct_2",
    "frechet",
    "frechet_clips",
    "kernel",
    "precision",
    "recall",
    "retrieval_zh",
    "retrieval_en",
    "found_caption_zh",
    "found_caption_en",
    "style",
    "bits_per_dimension",
)
LED_BY = ("bits_per_character", "bits_per_dimension", "frechet")  # of figures beside a baseline's, the one that the card tells

WORDS: Mapping[str, tuple[str, str]] = {
    "family": ("family", "模型家族"),
    "parameters": ("parameters", "参数量"),
    "bytes": ("size", "大小"),
    "sha256": ("SHA-256", "SHA-256"),
    "base": ("base model", "基础模型"),
    "config": ("configuration", "配置"),
    "source": ("source", "来源"),
    "data": ("dataset", "数据集"),
    "records": ("records", "条数"),
    "licences": ("licences", "许可"),
    "steps": ("steps of preparation", "预处理步骤"),
    "dropped": ("dropped", "剔除"),
    "train_steps": ("training steps", "训练步数"),
    "batch": ("batch", "批量"),
    "seconds": ("training time", "训练时间"),
    "machine": ("machine", "机器"),
    "loss": ("validation loss, nats a unit", "验证损失（奈特/单位）"),
    "figure": ("figure", "指标"),
    "value": ("value", "数值"),
    "interval": ("95 % interval", "95% 置信区间"),
    "count": ("records", "样本数"),
    "unknown": ("not recorded", "未记录"),
    "no_figures": ("Not evaluated yet: run `miaobi evaluate`.", "尚未评测：请运行 `miaobi evaluate`。"),
    "no_examples": ("None kept.", "未保留。"),
}
LIMITS = (
    "- It knows only the data above, and repeats that data's views, gaps and errors.\n"
    "- What it writes is fiction: names, dates and events in it are not facts.\n"
    "- The figures hold for held-out records of the same data; on other text it will do worse.",
    "- 模型只学过上述数据，也会重复其中的观点、缺漏和错误。\n- 它写出的内容是虚构的：其中的人名、年代和事件不是事实。\n"
    "- 上述指标只对同一数据中留出的样本成立，换成别的文本会更差。",
)
LIMITS_OF_PICTURES = (
    "- It knows only the pictures above: what they do not show it cannot draw, and it repeats their views and gaps.\n"
    "- Its pictures show nothing that exists; they prove nothing.\n"
    "- The figures hold for held-out pictures of the same data. Distances are by EfficientNet-lite0, so they do not compare with those by "
    "Inception elsewhere, and only with distances over as many pictures.",
    "- 模型只见过上述图片：其中没有的它画不出来，其中的观点和缺漏它会重复。\n- 它画的东西并不存在，不能作为任何证据。\n"
    "- 上述指标只对同一数据中留出的图片成立。"
    "距离由 EfficientNet-lite0 计算，不能与别处用 Inception 算的相比，也只能与同样多图片上的距离相比。",
)

LIMITS_OF_MUSIC = (
    "- It knows only the pieces above, and their turns of phrase; what is unlike them it writes badly.\n"
    "- Rules keep key, mode, metre, length and range, not the model; whether a melody is good, no rule knows.\n"
    "- A short run of notes may be that of a tune that exists: `copied_span` says how long such runs are.",
    "- 模型只学过上述曲子和其中的乐句，不像它们的音乐写不好。\n"
    "- 调、调式、拍号、长度与音域由规则保证，不是模型自己做到的；旋律好不好，没有规则能管。\n"
    "- 短的一串音可能与已有的曲子相同：`copied_span` 说明这样的片段有多长。",
)

LIMITS_OF_FILMS = (
    "- It knows only the films above: motion that they do not show it cannot make, and it repeats their views and gaps.\n"
    "- Its films show nothing that happened; they prove nothing.\n"
    "- The figures hold for held-out films of the same data, and compare only with figures over as many films. A still image is the "
    "baseline: it never flickers and does not move.",
    "- 模型只学过上述影片：其中没有的运动它做不出来，其中的观点和缺漏它会重复。\n- 它做的影片里的事没有发生过，不能作为任何证据。\n"
    "- 上述指标只对同一数据中留出的影片成立，也只能与同样多影片上的数字相比。静止的图片是对照：它从不闪烁，也不动。",
)

LIMITS_OF_LOOKS = (
    "- It knows only the pictures above and what they are called: a photograph, or a thing that they do not show, it reads badly.\n"
    "- What it says of a picture is a guess, however sure it is.\n"
    "- The figures hold for held-out pictures of the same data.",
    "- 模型只见过上述图片和它们的名称：照片，或其中没有的事物，它看不准。\n- 它对图片的说法只是猜测，无论多么肯定。\n"
    "- 上述指标只对同一数据中留出的图片成立。",
)

PYTHON = "print(model.generate({prompt}, seed=1)[0].text)"
PYTHON_OF_PICTURES = """[picture] = model.generate({prompt}, seed=1)
write(picture, Path("picture.png"))  # with its label"""
PYTHON_OF_LOOKS = """print(model.generate({prompt}, image="picture.png")[0].text)"""
PYTHON_OF_MUSIC = """[tune] = model.generate({prompt}, seed=1)
write(tune, Path("tune.mid"))  # its label lies beside it"""
PYTHON_OF_FILMS = """[film] = model.generate({prompt}, image="picture.png", seed=1)
write(film, "film.webp")  # with its label; .gif, .mp4 and .webm as well"""
IMPORTS = "import miaobi"
IMPORTS_OF_FILMS = """import miaobi
from miaobi.api import write"""
IMPORTS_OF_PICTURES = """from pathlib import Path

import miaobi
from miaobi.trust.label import write"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a kind of content is asked for and kept, and what the card says of it."""

    limits: tuple[str, str]
    python: str
    imports: str = IMPORTS_OF_PICTURES
    out: str = ""  # what follows the prompt on the command line
    heading: str = "What it wrote"
    task: str = "text-generation"  # the Hub's word


WAYS = {
    Modality.IMAGE: Way(LIMITS_OF_PICTURES, PYTHON_OF_PICTURES, out=" --out picture.png", heading="What it drew", task="text-to-image"),
    Modality.MUSIC: Way(LIMITS_OF_MUSIC, PYTHON_OF_MUSIC, out=" --out tune.mid", task="text-to-audio"),
    Modality.VIDEO: Way(
        LIMITS_OF_FILMS,
        PYTHON_OF_FILMS,
        imports=IMPORTS_OF_FILMS,
        out=" --image picture.png --out film.webp",
        heading="What it filmed",
        task="image-to-video",
    ),
}
OF_TEXTS = Way(LIMITS, PYTHON, imports=IMPORTS)
OF_LOOKS = Way(  # texts about a picture
    LIMITS_OF_LOOKS, PYTHON_OF_LOOKS, imports=IMPORTS, out=" --image picture.png", heading="What it said", task="image-to-text"
)


def model_card(
    recipe: Recipe,
    artifact: Artifact,
    *,
    data: Mapping[str, Any] = NOTHING,
    evaluation: Mapping[str, Any] = NOTHING,
    log: Log | None = None,
    parameters: int | None = None,
    machine: str = "",
    notes: Mapping[str, Mapping[str, str]] = NOTHING,
    languages: Sequence[str] = ("zh",),
) -> str:
    """The Markdown of the card.

    Args:
        data: the dataset's card.
        evaluation: what `eval.json` holds.
        machine: where it was trained, in words.
        notes: free text that nobody can compute, by language: {"en": {"summary", "use", "limits"}, "zh": …}.
        languages: what the model writes, for the Hub.
    """
    asked = next(iter(recipe.generate.prompts), "")
    prompt = json.dumps(asked, ensure_ascii=False)
    way = _way(artifact)
    parts = [_metadata(recipe, artifact, evaluation, languages)]
    for language in LANGUAGES:
        own = notes.get(language, {})
        template = (TEMPLATES / f"card.{language}.md").read_text(encoding="utf-8")
        parts.append(
            template.format(
                name=recipe.name,
                summary=own.get("summary", recipe.summary),
                prompt=(f" {_for_a_shell(asked)}" if asked else "") + way.out,
                python=way.python.format(prompt=prompt),
                imports=way.imports,
                heading=way.heading,
                use=own.get("use", ""),
                limits=own.get("limits", way.limits[LANGUAGES.index(language)]),
                licence=own.get("licence", artifact.licence or word("unknown", language)),
                facts=_facts(recipe, artifact, parameters, language),
                data=_data(recipe, artifact, data, language),
                cost=_cost(recipe, log, machine, language),
                figures=_figures(evaluation, language),
                examples=_examples(evaluation, language),
            )
        )
    return _tidy("\n".join(parts))


def describe(
    folder: Path,
    recipe: Recipe,
    artifact: Artifact,
    *,
    data: Mapping[str, Any] = NOTHING,
    evaluation: Mapping[str, Any] = NOTHING,
    log: Path,
) -> None:
    """Write the card and, where there are figures, `eval.json` into a model's folder."""
    from miaobi.engine.compare import parameters

    card = model_card(
        recipe,
        artifact,
        data=data,
        evaluation=evaluation,
        log=read_log(log) if log.is_file() else None,
        parameters=parameters(artifact),
    )
    write_text(folder / "README.md", card)
    if evaluation:
        write_text(folder / "eval.json", json.dumps(evaluation, ensure_ascii=False, indent=2) + "\n")


def word(key: str, language: Language) -> str:
    """A word of the card in one of its languages."""
    return WORDS[key][LANGUAGES.index(language)]


def _metadata(recipe: Recipe, artifact: Artifact, evaluation: Mapping[str, Any], languages: Sequence[str]) -> str:
    """The YAML head that the Hub reads."""
    import yaml

    figures = evaluation.get("figures", {})
    metrics = [{"type": name, "name": name, "value": figures[name]["value"]} for name in MAIN if name in figures]
    task = _way(artifact).task
    if task == "text-to-image" and "retrieval_en" not in figures:
        task = "unconditional-image-generation"
    head: dict[str, Any] = {
        "license": (artifact.licence or "other").lower(),
        "language": list(languages),
        "library_name": "miaobi",
        "pipeline_tag": task,
        "tags": ["miaobi", artifact.family],
    }
    if artifact.base:
        head["base_model"] = artifact.base
    if metrics:
        dataset = {"name": recipe.name, "type": "miaobi", "split": recipe.evaluate.split}
        result = {"task": {"type": task}, "dataset": dataset, "metrics": metrics}
        head["model-index"] = [{"name": recipe.name, "results": [result]}]
    return f"---\n{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---\n"


def _facts(recipe: Recipe, artifact: Artifact, parameters: int | None, language: Language) -> str:
    kind = families().get(artifact.family)
    config = ", ".join(f"{key} {value}" for key, value in recipe.model.config.items())
    total = sum(int(entry["bytes"]) for entry in artifact.files.values())
    rows = {
        "family": f"`{artifact.family}`" + (f": {kind.summary}" if kind and language == "en" else ""),
        "config": config,
        "parameters": number(parameters) if parameters else "",
        "bytes": f"{total / 1e6:.1f} MB",
        "base": artifact.base,
        "sha256": f"`{artifact.sha256}`",
    }
    return _list(rows, language)


def _data(recipe: Recipe, artifact: Artifact, data: Mapping[str, Any], language: Language) -> str:
    sources = [f"`{source.path}`" + (f" ({source.licence})" if source.licence else "") for source in recipe.data.sources()]
    steps = [step if isinstance(step, str) else next(iter(step)) for step in recipe.data.steps]
    rows = {
        "source": ", ".join(dict.fromkeys(sources)),
        "data": ", ".join(f"`{reference}`" for reference in artifact.data),
        "records": _counts(data.get("records", {})),
        "licences": ", ".join(map(str, data.get("licences", ()))),
        "steps": " → ".join(steps),
        "dropped": ", ".join(f"{entry['step']} {entry['reason']} {number(entry['records'])}" for entry in data.get("dropped", ())),
    }
    return _list(rows, language) or word("unknown", language)


def _cost(recipe: Recipe, log: Log | None, machine: str, language: Language) -> str:
    validation = log.last("val_loss") if log else None
    rows = {
        "train_steps": number(log.steps) if log and log.steps else "",
        "batch": str(recipe.train.batch) if log and log.steps else "",
        "seconds": _duration(log.seconds) if log else "",
        "machine": machine,
        "loss": f"{validation:.4f}" if validation is not None else "",
    }
    return _list(rows, language) or word("unknown", language)


def _figures(evaluation: Mapping[str, Any], language: Language) -> str:
    """The table of figures, and a line for every baseline."""
    figures = evaluation.get("figures", {})
    if not figures:
        return word("no_figures", language)
    head = [word(key, language) for key in ("figure", "value", "interval", "count")]
    rows = [
        [f"`{name}`", number(one["value"]), f"{number(one['low'])} – {number(one['high'])}" if "low" in one else "–", number(one["count"])]
        for name, one in figures.items()
    ]
    lines = [_baseline(name, one, language) for name, one in evaluation.get("baselines", {}).items()]
    return "\n".join([_row(head), _row(["---", "---:", "---:", "---:"]), *map(_row, rows), "", *lines])


def _baseline(name: str, baseline: Mapping[str, Any], language: Language) -> str:
    """What distinguishes the model from another, in the one figure that tells most."""
    key = next((key for key in LED_BY if key in baseline["differences"]), next(iter(baseline["differences"]), ""))
    if not key:
        return ""
    gap, theirs = baseline["differences"][key], baseline["figures"][key]["value"]
    shares = {end: f"{gap[f'relative{end}']:+.1%}" if f"relative{end}" in gap else "–" for end in ("", "_low", "_high")}
    values = {"name": name, "gap": shares[""], "low": shares["_low"], "high": shares["_high"], "figure": f"`{key}`"}
    if key == LED_BY[0]:
        template = {
            "en": "Against `{name}` on the same characters ({theirs} bits per character): {gap} (95 % interval {low} to {high}; {test}).",
            "zh": "与 `{name}` 在相同的字上比较（其每字 {theirs} 比特）：{gap}（95% 置信区间 {low} 至 {high}；{test}）。",
        }[language]
    else:
        template = {
            "en": "Against `{name}` in {figure} (its value is {theirs}): {gap} (95 % interval {low} to {high}; {test}).",
            "zh": "与 `{name}` 比较 {figure}（其值为 {theirs}）：{gap}（95% 置信区间 {low} 至 {high}；{test}）。",
        }[language]
    return template.format(**values, theirs=number(theirs), test={"en": gap["test"], "zh": TESTS.get(gap["test"], gap["test"])}[language])


def _examples(evaluation: Mapping[str, Any], language: Language) -> str:
    """The first texts; of pictures what was asked, by which everybody can draw them again."""
    quoted = []
    for example in evaluation.get("examples", ())[:EXAMPLES]:
        options = ", ".join(str(value) for value in example.get("options", {}).values()) if "text" not in example else ""
        head = f"**{example['prompt'] or '–'}**" + (f" ({options}, seed {example['seed']})" if options else f" (seed {example['seed']})")
        lines = example["text"].splitlines() if "text" in example else []
        quoted.append("\n\n".join([head, *(["\n".join(f"> {line}  " for line in lines)] if lines else [])]))
    return "\n\n".join(quoted) or word("no_examples", language)


def _for_a_shell(prompt: str) -> str:
    """The prompt as bash reads it."""
    quoted = json.dumps(prompt, ensure_ascii=False)
    return f"$'{quoted[1:-1]}'" if "\n" in prompt and "'" not in prompt else quoted


def _way(artifact: Artifact) -> Way:
    """By the first thing that the family makes, in the order of `WAYS`; texts about pictures want a picture."""
    kind = families().get(artifact.family)
    if kind is None:
        return OF_TEXTS
    of_texts = OF_LOOKS if "image" in kind.inputs and not kind.converses else OF_TEXTS
    return next((way for modality, way in WAYS.items() if modality in kind.outputs), of_texts)


def _list(rows: Mapping[str, str], language: Language) -> str:
    """The rows that have something to say, as a list."""
    return "\n".join(f"- {word(key, language)}: {value}" for key, value in rows.items() if value)


def _counts(counts: Mapping[str, int]) -> str:
    """`train 100, val 2`."""
    return ", ".join(f"{key} {number(value)}" for key, value in counts.items())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _tidy(text: str) -> str:
    """No runs of empty lines, one line break at the end."""
    lines: list[str] = []
    for line in text.splitlines():
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n"
