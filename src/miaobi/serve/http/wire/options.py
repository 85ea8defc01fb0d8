"""From OpenAI's fields to the options of a model's family: what it lacks is refused, unless it was sent as OpenAI's own default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from miaobi.core.families import family
from miaobi.core.types import Modality
from miaobi.serve.http.errors import Denied

if TYPE_CHECKING:
    from miaobi.serve.http.state import State
    from miaobi.serve.http.wire.fields import Counted
    from miaobi.serve.pool import Served

DEFAULTS: Mapping[str, Any] = {  # what clients send without wanting anything by it
    "temperature": 1.0,
    "top_p": 1.0,
    "n": 1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "stop": [],
    "logit_bias": {},
}
LEAST_TEMPERATURE = 0.01  # below it and above 0, rounding decides


def served_text(state: State, name: str) -> Served:
    """The model of that name, which writes.

    Raises:
        Denied: no such model, or it makes no text.
    """
    found = served(state, name)
    if Modality.TEXT not in found.outputs:
        made = ", ".join(sorted(found.outputs))
        raise Denied("the model '{name}' makes no text but: {outputs}", status=400, param="model", name=name, outputs=made)
    return found


def served(state: State, name: str) -> Served:
    """The model of that name.

    Raises:
        Denied: no such model.
    """
    found = state.pool.model(name)
    if found is not None:
        return found
    raise Denied("the model '{name}' is not served here", status=404, code="model_not_found", param="model", name=name[:200])


def known(model: Served) -> frozenset[str]:
    """The names of the family's options; `n` is everybody's."""
    return frozenset(family(model.family).schemas()[1].model_fields) | {"n"}


def of(model: Served, wanted: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request: what OpenAI's fields say (None is not said) and what is given by the family's own names.

    Raises:
        Denied: the family lacks one, or it is given twice.
    """
    names = known(model)
    found = dict(more)
    for name, value in wanted.items():
        if value is None or (name not in names and name in DEFAULTS and DEFAULTS[name] == value):
            continue
        if name not in names:
            raise Denied("the model '{name}' takes no {option}", status=400, param=name, name=model.name, option=name)
        if name in more:
            raise Denied("{option} stands in the request twice", status=400, param=f"options.{name}", option=name)
        found[name] = value
    return found


def counted(body: Counted) -> dict[str, Any]:
    """The fields that chat and completions share, by the names of `engine.sampling.options`."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    return {
        **drawn(body.temperature, body.top_p),
        "n": body.n,
        "stop": stop,
        "max_tokens": body.max_tokens,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "logit_bias": _numbers(body.logit_bias),
    }


def drawn(temperature: float | None, top_p: float | None) -> dict[str, Any]:
    """Temperature and top-p."""
    return {"temperature": 0.0 if temperature is not None and temperature < LEAST_TEMPERATURE else temperature, "top_p": top_p}


def seed_of(seed: int | None) -> int | None:
    """Clients' seeds may be negative; ours are not."""
    return None if seed is None else seed & (2**63 - 1)


def _numbers(bias: Mapping[str, float] | None) -> dict[int, float] | None:
    """Token numbers are keys of JSON, so they come as text."""
    if bias is None:
        return None
    if any(not (token.isascii() and token.isdecimal() and len(token) < 10) for token in bias):
        raise Denied("logit_bias maps token numbers to numbers", status=400, param="logit_bias")
    return {int(token): value for token, value in bias.items()}
