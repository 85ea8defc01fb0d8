"""A grammar's file (YAML or JSON) read with its places, so that an error names the file, the line, the column and the field.

    grammar: 1
    language: en
    forms: {greeting: greeting}
    rules:
      greeting:
        - Hello, {name}!
        - {text: "Good evening, {name}.", weight: 2}
      name: [world, moon, sea]

Values are read as text: `yes`, `on` and `1e3` are words here. Anchors and aliases are refused, so that no small file becomes a huge one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from miaobi.core.errors import DataError, unknown
from miaobi.core.language import tr
from miaobi.models.rules.grammar import LARGEST, Grammar, Once, Option, Rule
from miaobi.models.rules.prompt import UNKNOWN
from miaobi.models.rules.template import BadTemplate, is_name, parse

FORMAT = "1"
QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as quick, where PyYAML was built with it
MAX_BYTES, MAX_DEPTH, MAX_PIECES = 4 << 20, 12, 200
KEYS = ("grammar", "name", "summary", "language", "forms", "topics", "unknown", "rules")
_ONCE: Mapping[str, Once] = {"true": "true", "end": "end", "false": ""}
_RULE_KEYS = ("once", "options")
_OPTION_KEYS = ("text", "each", "weight", "about")  # every other key is a feature


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file something stands."""

    file: str
    line: int
    column: int
    field: str

    def error(self, problem: object) -> DataError:
        return DataError("{file}, line {line}, column {column}, {field}: {problem}", **asdict(self), problem=problem)


def read(path: Path) -> Grammar:
    """The grammar in a file.

    Raises:
        DataError: it cannot be read, or something in it is wrong; the message names the place and the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("{path} is larger than {limit:,} bytes", path=path, limit=MAX_BYTES)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("there is no file at {path}", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("{path} cannot be read ({problem})", path=path, problem=error) from None
    return loads(text.replace("\t", " ") if path.suffix == ".json" else text, path.name)


def loads(text: str, file: str = "grammar.yaml") -> Grammar:
    """The grammar in a text; `file` is what errors call it."""
    root = _composed(text, file)
    if root is None:
        raise _Place(file, 1, 1, "grammar").error(tr("the file is empty"))
    return _Reader(file).grammar(root)


def _composed(text: str, file: str) -> yaml.Node | None:
    """YAML's nodes; None of an empty text. What the quick loader refuses the other reads again, since it says better what is wrong."""
    try:
        _check_tame(text, file, QUICK)
        return yaml.compose(text, Loader=QUICK)
    except (yaml.YAMLError, UnicodeEncodeError):
        pass
    try:
        _check_tame(text, file, yaml.SafeLoader)
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _place(file, error.problem_mark, "YAML").error(error.problem or error) from None
    except yaml.YAMLError:
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)  # the one thing that is wrong without a mark
        before = text[: found.start()] if found else ""
        place = _Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"), "YAML")
        raise place.error(tr("a letter stands here that no text has: {code}", code=f"U+{ord(found[0]):04X}" if found else "?")) from None


def _check_tame(text: str, file: str, loader: Any) -> None:
    """No aliases, and nothing nested deeply."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise _place(file, event.start_mark, "YAML").error(tr("aliases and deep nesting are not read in a grammar"))


def _place(file: str, mark: Any, field: str) -> _Place:
    """Where YAML's mark is; the beginning, where it does not say."""
    return _Place(file, mark.line + 1, mark.column + 1, field) if mark else _Place(file, 1, 1, field)


class _Reader:
    """Nodes of YAML to a grammar; keeps the file's name for errors."""

    def __init__(self, file: str) -> None:
        self.file = file

    def at(self, node: yaml.Node, field: str) -> _Place:
        return _place(self.file, node.start_mark, field)

    def of(self, rule: Rule, thing: Rule | Option) -> _Place:
        """Where a rule, or an option of it, begins."""
        return _Place(self.file, *thing.place, f"rules.{rule.name}")

    def grammar(self, root: yaml.Node) -> Grammar:
        top = self.mapping(root, "grammar", KEYS)
        for needed in ("grammar", "rules"):
            if needed not in top:
                raise self.at(root, needed).error(tr("'{path}' is missing", path=needed))
        version = self.scalar(top["grammar"], "grammar")
        if version != FORMAT:
            raise self.at(top["grammar"], "grammar").error(
                tr("format {number} is not known; this miaobi reads {known}", number=version, known=FORMAT)
            )
        rules = {name: self.rule(name, node) for name, node in self.mapping(top["rules"], "rules").items()}
        if not rules:
            raise self.at(top["rules"], "rules").error(tr("there is no rule"))
        forms = {name: self.scalar(node, f"forms.{name}") for name, node in self.optional(top, "forms").items()}
        topics = {
            name: frozenset(word.lower() for word in self.texts(node, f"topics.{name}"))
            for name, node in self.optional(top, "topics").items()
        }
        found = Grammar(
            **{key: self.scalar(top[key], key) if key in top else "" for key in ("name", "summary", "language", "unknown")},
            rules=rules,
            forms=forms or {next(iter(rules)): next(iter(rules))},
            topics=topics,
        )
        self.check(found, top)
        return found

    def rule(self, name: str, node: yaml.Node) -> Rule:
        field = f"rules.{name}"
        if not is_name(name):
            raise self.at(node, field).error(tr("'{name}' is no name of a rule: letters, digits and _ make a name", name=name))
        once: Once = ""
        listed = node
        if isinstance(node, yaml.MappingNode):
            keys = self.mapping(node, field, _RULE_KEYS)
            if "options" not in keys:
                raise self.at(node, field).error(tr("'{path}' is missing", path="options"))
            once, listed = self.once(keys["once"], f"{field}.once") if "once" in keys else "", keys["options"]
        nodes = listed.value if isinstance(listed, yaml.SequenceNode) else [listed]
        options = [option for place, each in enumerate(nodes, 1) for option in self.options(each, f"{field}[{place}]")]
        if not options:
            raise self.at(node, field).error(tr("a rule needs an option"))
        return Rule(name=name, options=tuple(options), once=once, place=(node.start_mark.line + 1, node.start_mark.column + 1))

    def options(self, node: yaml.Node, field: str) -> Iterator[Option]:
        """One option, or one for every text of `each`."""
        if isinstance(node, yaml.ScalarNode):
            yield self.option(node, field, {})
            return
        keys = self.mapping(node, field)
        if ("text" in keys) == ("each" in keys):
            raise self.at(node, field).error(tr("an option has either text or each"))
        whole = keys["text"] if "text" in keys else keys["each"]
        texts = whole.value if "each" in keys and isinstance(whole, yaml.SequenceNode) else [whole]
        for text in texts:
            yield self.option(text, field, keys)

    def option(self, text: yaml.Node, field: str, keys: Mapping[str, yaml.Node]) -> Option:
        try:
            pieces = parse(self.scalar(text, field))
        except BadTemplate as problem:
            raise self.at(text, field).error(problem) from None
        if len(pieces) > MAX_PIECES:
            raise self.at(text, field).error(tr("an option has at most {limit} slots and stretches of text", limit=MAX_PIECES))
        features = {key: tuple(self.texts(node, f"{field}.{key}")) for key, node in keys.items() if key not in _OPTION_KEYS}
        for key, node in keys.items():
            if not is_name(key):
                raise self.at(node, field).error(tr("'{name}' is no name of a feature: letters, digits and _ make a name", name=key))
        return Option(
            pieces=pieces,
            weight=self.weight(keys["weight"], f"{field}.weight") if "weight" in keys else 1.0,
            about=frozenset(self.texts(keys["about"], f"{field}.about")) if "about" in keys else frozenset(),
            features=features,
            place=(text.start_mark.line + 1, text.start_mark.column + 1),
        )

    def check(self, found: Grammar, top: Mapping[str, yaml.Node]) -> None:
        """What only the whole grammar shows: names that nothing has, rules that never end, demands that no option meets."""
        known = [*found.rules, *found.memories]
        for form, name in found.forms.items():
            if name not in found.rules:
                raise self.at(top.get("forms", top["rules"]), f"forms.{form}").error(unknown("rule", name, found.rules))
        if found.unknown and found.unknown not in found.rules:
            raise self.at(top["unknown"], "unknown").error(unknown("rule", found.unknown, found.rules))
        for rule in found.rules.values():
            for option in rule.options:
                place = self.of(rule, option)
                for slot in option.slots:
                    if slot.rule not in known or (slot.memory and slot.rule not in found.rules):
                        raise place.error(unknown("rule", slot.rule, known))
                    if slot.memory and (slot.memory in found.rules or found.memories[slot.memory] != slot.rule):
                        raise place.error(
                            tr("the name {name} is remembered from another rule already, or is a rule itself", name=slot.memory)
                        )
                for topic in option.about - found.topics.keys() - ({UNKNOWN} if found.unknown else set()):
                    raise place.error(unknown("topic", topic, found.topics))
        self.check_ends(found)
        self.check_features(found)

    def check_ends(self, found: Grammar) -> None:
        for rule in found.rules.values():
            place = self.of(rule, rule)
            if rule.name not in found.heights:
                raise place.error(tr("the rule can never end: each of its options leads back to it"))
            if found.sizes[rule.name] > LARGEST:
                raise place.error(tr("even its shortest text has more than {limit:,} parts", limit=LARGEST))

    def check_features(self, found: Grammar) -> None:
        """A demand that none of a rule's options can meet, and a feature that nothing demands, are slips of the pen."""
        demanded = {key for rule in found.rules.values() for option in rule.options for slot in option.slots for key in slot.features}
        for rule in found.rules.values():
            for option in rule.options:
                for key in option.features.keys() - demanded:
                    place = self.of(rule, option)
                    raise place.error(unknown("key", key, [*_OPTION_KEYS, *demanded]))
                for slot in option.slots:
                    behind = found.rules[found.rule_of(slot)].options
                    for key, value in slot.features.items():
                        meets = [each for each in behind if key in each.variables or value[0] == "@" or value in each.features.get(key, ())]
                        if not [each for each in meets if key in each.variables or key in each.features]:
                            place = self.of(rule, option)
                            raise place.error(tr("no option of {rule} has {feature}={value}", rule=slot.rule, feature=key, value=value))

    def mapping(self, node: yaml.Node, field: str, known: tuple[str, ...] = ()) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.at(node, field).error(tr("keys with values are wanted"))
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.scalar(key_node, field)
            if key in found:
                raise self.at(key_node, f"{field}.{key}").error(tr("the key stands here twice"))
            if known and key not in known:
                raise self.at(key_node, field).error(unknown("key", key, known))
            found[key] = value
        return found

    def optional(self, top: Mapping[str, yaml.Node], key: str) -> dict[str, yaml.Node]:
        return self.mapping(top[key], key) if key in top else {}

    def scalar(self, node: yaml.Node, field: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.at(node, field).error(tr("text is wanted"))
        return str(node.value)

    def texts(self, node: yaml.Node, field: str) -> list[str]:
        """A list of texts, or one text."""
        return [self.scalar(each, field) for each in (node.value if isinstance(node, yaml.SequenceNode) else [node])]

    def once(self, node: yaml.Node, field: str) -> Once:
        value = self.scalar(node, field).lower()
        if value not in _ONCE:
            raise self.at(node, field).error(unknown("value", value, _ONCE))
        return _ONCE[value]

    def weight(self, node: yaml.Node, field: str) -> float:
        try:
            value = float(self.scalar(node, field))
        except ValueError:
            value = 0.0
        if not 0 < value < 1e9:
            raise self.at(node, field).error(tr("a number above 0 is wanted"))
        return value
