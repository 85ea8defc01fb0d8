"""The text of an option, cut into plain stretches and slots: `The {noun number=@n} {verb number=@n | past}.`

{noun}                a text of the rule `noun`
{hero:name}           a text of the rule `name`, remembered: every `{hero}` in the same text repeats it
{noun number=plural}  only options that have that feature
{noun rhyme=@a}       the variable @a: the first slot with it chooses, the others must agree
{noun | plural | a}   changed by modifiers, from left to right
{{ and }}             braces
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from miaobi.core.errors import unknown
from miaobi.core.language import tr
from miaobi.models.rules.english import MODIFIERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place that a rule fills. `features` are demands: a value, or a variable (`@a`)."""

    rule: str
    memory: str = ""  # the name under which the text is remembered
    features: Mapping[str, str] = field(default_factory=dict)
    modifiers: tuple[str, ...] = ()


Template = tuple[str | Slot, ...]


class BadTemplate(ValueError):
    """What is wrong with a template; the reader adds file and line."""


def parse(text: str) -> Template:
    """The pieces of a template.

    Raises:
        BadTemplate: a brace without its partner, a slot without a name, an unknown modifier.
    """
    pieces: list[str | Slot] = []
    plain, position = "", 0
    while position < len(text):
        letter = text[position]
        if text[position : position + 2] in ("{{", "}}"):
            plain, position = plain + letter, position + 2
        elif letter == "{":
            end = text.find("}", position)
            if end < 0:
                raise BadTemplate(
                    tr("the brace at letter {position} is never closed; a doubled brace stands for itself", position=position + 1)
                )
            if plain:
                pieces.append(plain)
            pieces.append(slot(text[position + 1 : end]))
            plain, position = "", end + 1
        elif letter == "}":
            raise BadTemplate(tr("the brace at letter {position} closes nothing; a doubled brace stands for itself", position=position + 1))
        else:
            plain, position = plain + letter, position + 1
    return (*pieces, plain) if plain or not pieces else tuple(pieces)


def slot(text: str) -> Slot:
    """What stands between braces."""
    head, *modifiers = (part.strip() for part in text.split("|"))
    words = head.split()
    if not words:
        raise BadTemplate(tr("a slot without the name of a rule"))
    memory, colon, rule = words[0].rpartition(":")
    for name in (rule, *((memory,) if colon else ())):
        if not is_name(name):
            raise BadTemplate(tr("'{name}' is no name of a rule: letters, digits and _ make a name", name=name))
    for modifier in modifiers:
        if modifier not in MODIFIERS:
            raise BadTemplate(str(unknown("modifier", modifier, MODIFIERS)))
    return Slot(rule=rule, memory=memory, features=_features(words[1:]), modifiers=tuple(modifiers))


def is_name(text: str) -> bool:
    """Whether a rule, feature or variable may be called so (Chinese letters may)."""
    return text.isidentifier()


def _features(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value or not is_name(key) or (value[0] == "@" and not is_name(value[1:])):
            raise BadTemplate(tr("'{word}' is no demand: write feature=value or feature=@variable", word=word))
        if key in found:
            raise BadTemplate(tr("the feature {key} is demanded twice", key=key))
        found[key] = value
    return found
