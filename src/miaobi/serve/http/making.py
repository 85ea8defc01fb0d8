"""What the routes that make media share: which model is meant, its options, and how contents leave."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from miaobi.core.families import family
from miaobi.core.schema import Schema
from miaobi.core.types import Content, Media, Modality, Turn
from miaobi.engine.convert import encoded
from miaobi.serve.http.errors import Denied
from miaobi.serve.pool import Ask
from miaobi.trust import label as labels

if TYPE_CHECKING:
    from miaobi.serve.http.state import State
    from miaobi.serve.pool import Served

USUAL = {
    Modality.IMAGE: "painter",
    Modality.AUDIO: "narrator",
    Modality.MUSIC: "composer",
    Modality.VIDEO: "animator",
    Modality.TEXT: "ears",
}


class Wish(Schema):
    """What every request for media may say, beside OpenAI's own fields."""

    model: str | None = Field(None, max_length=1000)
    """A name that `/v1/models` lists; by default the one that ships."""
    seed: int | None = Field(None, ge=0, le=2**62)
    """The same seed makes the same again."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the model beyond OpenAI's fields, such as {"steps": 20}."""
    mark: Literal["none", "auto", "zh", "en"] = "none"
    """The visible or audible words AI生成 or AI-generated."""
    watermark: Literal["none", "image", "sound"] | None = None
    """An invisible or inaudible mark; by default as the model's recipe says."""
    keep: bool = False
    """Keep it in the server's library, too; the answer then has `library_id`."""
    user: str = Field("", max_length=500)
    """OpenAI's; not used."""


def chosen(state: State, name: str | None, modality: Modality, *, takes: str = "") -> Served:
    """The model that is meant: the one of that name or, without a name, the usual one, else the first that makes such things.

    Raises:
        Denied: 404 for an unknown name, 400 for a model that makes something else or takes no such part.
    """
    able = [one for one in state.pool.models() if modality in one.outputs and (not takes or takes in one.inputs)]
    if name is None:
        usual = next((one for one in able if one.name == USUAL[modality]), next(iter(able), None))
        if usual is None:
            raise Denied("no model here makes {what}", status=404, code="model_not_found", param="model", what=str(modality))
        return usual
    found = state.pool.model(name)
    if found is None:
        raise Denied("the model '{name}' is not served here", status=404, code="model_not_found", param="model", name=name[:200])
    if found not in able:
        raise Denied("the model '{name}' cannot do this", status=400, code="invalid_value", param="model", name=name)
    return found


def knows(served: Served, option: str) -> bool:
    """Whether a model has an option of that name."""
    return option in family(served.family).schemas()[1].model_fields


def with_options(served: Served, options: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The options, and those fields of OpenAI's that were given and that the model knows.

    Raises:
        Denied: 400 for a field that the model has nothing for, and for `n`, which is no option here.
    """
    found = dict(options)
    if "n" in found:
        raise Denied("'n' is a field of its own and no option", status=400, param="options.n", code="invalid_value")
    for name, value in fields.items():
        if value is None or value == "":
            continue
        if not knows(served, name):
            raise Denied("the model '{name}' has no '{field}'", status=400, param=name, code="invalid_value", name=served.name, field=name)
        found[name] = value
    return found


def asked(served: Served, prompt: str, options: Mapping[str, Any], *, seed: int | None) -> Ask:
    """The request; `options` go as they came, so that one called `seed` is an unknown option and no second seed."""
    return Ask(model=served.name, turns=(Turn(role="user", parts=(prompt,)),), options=options, seed=seed)


def counted(served: Served, n: int) -> dict[str, int]:
    """The option that asks for several contents."""
    return {"n": n} if n > 1 or knows(served, "n") else {}


async def keep(state: State, contents: Iterable[Content], *, wanted: bool) -> list[str]:
    """The ids under which contents were kept, one for each, empty where none was wanted."""
    made = list(contents)
    if not wanted:
        return [""] * len(made)
    return await asyncio.to_thread(lambda: [state.library.keep(content, origin="serve") for content in made])


def as_file(content: Content, suffix: str) -> Media:
    """The content as a file of that kind, its label in it; slow, so call it in a thread."""
    return encoded(content, suffix)


def base64_of(data: bytes) -> str:
    """As JSON carries bytes."""
    return base64.b64encode(data).decode()


def told(content: Content, kept: str = "") -> dict[str, Any]:
    """What an answer says of a content, beside its bytes."""
    values: dict[str, Any] = {"aigc": labels.implicit(content.label), "label": labels.to_dict(content.label)}
    return values | ({"library_id": kept} if kept else {})


def headers(label: Mapping[str, str], kept: str) -> dict[str, str]:
    """The label beside bytes that may have no place for one."""
    found = {"X-AIGC": json.dumps(dict(label), separators=(",", ":"))}
    return found | ({"X-Library-Id": kept} if kept else {})


def first_label(contents: Sequence[Content]) -> dict[str, str]:
    """The implicit label of an answer that holds one content."""
    return labels.implicit(contents[0].label)
