"""A grammar's texts are what its rules allow; what is wrong in a file is named with its line and its field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import miaobi
from miaobi.core.artifact import seal
from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Content, Request
from miaobi.engine.generate import collect
from miaobi.models.rules.english import article, beat, ing, past, plural, possessive, syllables, third, title
from miaobi.models.rules.model import Rules
from miaobi.models.rules.reader import loads


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_LANG", "en")


def texts(rules: str, *, n: int = 40, prompt: str = "", top: str = "", **options: object) -> list[str]:
    """Texts of `n` seeds."""
    model = Rules.of(f"grammar: 1\n{top}\nrules:\n" + "\n".join(f"  {line}" for line in rules.strip("\n").splitlines()))
    return [content.text for content in collect(model, Request.of(prompt, seed=1, n=n, **options))]


def test_slots_take_options_by_weight() -> None:
    found = texts("a: 'x {b}'\nb: [{text: rare}, {text: common, weight: 9}]", n=400)
    assert set(found) == {"x rare", "x common"}
    assert 320 < found.count("x common") < 390


def test_what_is_remembered_comes_again() -> None:
    for text in texts("a: '{hero:name} and {hero}, {other:name}'\nname: [Ada, Bo, Cy, Di]"):
        first, second, _ = re.split(r" and |, ", text)
        assert first == second


def test_slots_that_share_a_variable_agree() -> None:
    rules = """
a: "the {noun number=@n} {verb number=@n}"
noun: [{text: ship, number: one}, {text: ships, number: many}, {text: sheep, number: [one, many]}]
verb: [{text: sails, number: one}, {text: sail, number: many}]
"""
    assert set(texts(rules)) == {"the ship sails", "the ships sail", "the sheep sails", "the sheep sail"}


def test_agreement_reaches_through_rules_and_the_search_goes_back() -> None:
    """Only one pair of lines rhymes; whatever comes first, the second must fit, however deep the rhyming word lies."""
    rules = """
a: "{line r=@x} / {line r=@x}"
line:
  once: true
  options: ["by {word r=@r}", "in {word r=@r}", {text: the only one, r: un}]
word:
  once: true
  options: [{text: night, r: ight}, {text: light, r: ight}, {text: moon, r: oon}]
"""
    wanted = {f"{a} {x} / {b} {y}" for a, b in (("by", "in"), ("in", "by")) for x, y in (("night", "light"), ("light", "night"))}
    assert set(texts(rules)) == wanted


def test_no_two_lines_end_in_the_same_word() -> None:
    rules = 'a: "{line}, {line}"\nline: {once: end, options: [the moon, a moon, one moon, my house]}'
    assert all(text.endswith(" house") != text.split(",")[0].endswith(" house") for text in texts(rules))


def test_demands_that_nothing_meets_are_told() -> None:
    rules = "a: '{w r=@x} {w r=@x}'\nw: {once: true, options: [{text: night, r: ight}, {text: moon, r: oon}]}"
    with pytest.raises(UsageError, match=r"no text of the rule a meets all its demands"):
        texts(rules)


def test_features_of_many_values_are_tried_one_after_the_other() -> None:
    """Ten features of twenty values agree in more ways than a machine could hold."""
    names = [f"f{number}" for number in range(10)]
    demands, given = " ".join(f"{name}=@{name}" for name in names), ", ".join(f"{name}: {list(range(20))}" for name in names)
    assert texts(f"a: '{{w {demands}}} {{w {demands}}}'\nw: [{{text: x, {given}}}]", n=1) == ["x x"]
    with pytest.raises(UsageError, match="no text of the rule a"):
        texts(f"a: '{{w {demands}}} {{v f0=@f0}}'\nw: [{{text: x, {given}}}]\nv: [{{text: y, f0: z}}]", n=1)


@pytest.mark.parametrize(
    "rules", ["a: ['({a}{a})', x]", "a: ['{b}{b}{b}', x]\nb: ['{a}{a}', '{b}{a}']", "a: ['{a}', '{a}{a}', '{a}{a}{a}{a}', .]"]
)
def test_recursion_ends(rules: str) -> None:
    """Rules that lead back to themselves on average more than once would grow for ever; depth and steps end them."""
    for depth in (3, 10, 100):
        found = texts(rules, n=10, depth=depth)
        assert all(0 < len(text) < 100_000 for text in found)
    with pytest.raises(UsageError, match="the depth 1 is too small for a: its shortest text needs 2"):
        texts("a: '{b}'\nb: x", depth=1)


def test_topics_of_the_prompt_choose() -> None:
    rules = "a: '{line}'\nline: [any, {text: waves, about: sea}, {text: flakes, about: winter}]"
    top = "topics: {sea: [harbour, 海], winter: [snow]}"
    assert set(texts(rules, top=top)) == {"any"}
    assert set(texts(rules, top=top, prompt="two harbours")) <= {"any", "waves"}
    found = texts(rules, top=top, prompt="海边", n=100)
    assert found.count("waves") > 60
    assert "flakes" not in found


def test_the_prompts_own_words_are_taken_up() -> None:
    rules = "a: '{thing | a | capital} by {place}'\nthing: [cup]\nplace: [a hill, the lake, a wood]"
    assert texts(rules, top="unknown: thing", prompt="an octopus by the lake", n=1, candidates=20) == ["An octopus by the lake"]


def test_fixed_slots_and_forms() -> None:
    rules = "a: '{hero:name}!'\nb: '{hero:name}, {hero}?'\nname: [Bo]"
    assert texts(rules, top="forms: {short: a, long: b}", n=1) == ["Bo!"]
    assert texts(rules, top="forms: {short: a, long: b}", n=1, form="long", slots={"hero": "Ada"}) == ["Ada, Ada?"]
    with pytest.raises(UsageError, match=r"unknown form 'lang'. Did you mean 'long'\?"):
        texts(rules, top="forms: {short: a, long: b}", form="lang")
    with pytest.raises(UsageError, match=r"unknown slot 'zero'. Did you mean 'hero'\?"):
        texts(rules, slots={"zero": "x"})


def test_the_same_request_gives_the_same_text() -> None:
    rules = "a: '{b}{b}{b}{b}{b}{b}{b}{b}'\nb: [a, b, c, d, e, f, g]"
    assert texts(rules) == texts(rules)
    assert len(set(texts(rules))) > 30


def test_modifiers() -> None:
    assert [article(word) for word in ("apple", "ship", "hour", "unicorn", "umbrella")] == [
        "an apple",
        "a ship",
        "an hour",
        "a unicorn",
        "an umbrella",
    ]
    assert [plural(word) for word in ("ship", "berry", "day", "fox", "child", "red leaf")] == [
        "ships",
        "berries",
        "days",
        "foxes",
        "children",
        "red leaves",
    ]
    assert [past(word) for word in ("sing", "wait", "hope", "carry", "stop", "open", "go home")] == [
        *("sang", "waited", "hoped", "carried", "stopped", "opened", "went home"),
    ]
    assert [ing(word) for word in ("run", "shine", "lie", "see", "wait", "open")] == [
        "running",
        "shining",
        "lying",
        "seeing",
        "waiting",
        "opening",
    ]
    assert [third(word) for word in ("sing", "go", "carry", "wash up")] == ["sings", "goes", "carries", "washes up"]
    assert possessive("ships") == "ships'"
    assert title("a rainy harbour at night") == "A Rainy Harbour at Night"
    words = {"moon": 1, "harbour": 2, "dinosaur": 3, "little": 2, "moved": 1, "station": 2, "lion": 2, "watermelon": 4, "time": 1}
    assert {word: syllables(word) for word in words} == words
    assert beat("dinosaur") == "/x/"


BAD = [
    ("", 1, "grammar", "the file is empty"),
    ("grammar: 2\nrules: {a: x}", 1, "grammar", "format 2 is not known"),
    ("grammar: 1\nruels: {a: x}", 2, "grammar", "unknown key 'ruels'. Did you mean 'rules'?"),
    ("grammar: 1\nrules:\n  a: 'x {b}'", 3, "rules.a", "unknown rule 'b'"),
    ("grammar: 1\nrules:\n  a: '{b}'\n  b: ['{a}']", 3, "rules.a", "can never end"),
    ("grammar: 1\nrules:\n  a:\n    - x\n    - {text: y, weight: -1}", 5, "rules.a[2].weight", "a number above 0 is wanted"),
    ("grammar: 1\nrules:\n  a:\n    - {text: y, weigth: 2}", 4, "rules.a", "unknown key 'weigth'. Did you mean 'weight'?"),
    ("grammar: 1\nrules:\n  a: '{b | plurl}'\n  b: c", 3, "rules.a[1]", "unknown modifier 'plurl'. Did you mean 'plural'?"),
    ("grammar: 1\nrules:\n  a: 'x {b'", 3, "rules.a[1]", "the brace at letter 3 is never closed"),
    ("grammar: 1\nrules:\n  a: 'x} '", 3, "rules.a[1]", "closes nothing"),
    ("grammar: 1\nrules:\n  a: '{b n}'\n  b: c", 3, "rules.a[1]", "'n' is no demand"),
    ("grammar: 1\nrules:\n  a: '{b n=x}'\n  b: [{text: c, n: y}]", 3, "rules.a", "no option of b has n=x"),
    ("grammar: 1\nrules:\n  a: x\n  a: y", 4, "rules.a", "stands here twice"),
    ("grammar: 1\nrules:\n  a: []", 3, "rules.a", "a rule needs an option"),
    ("grammar: 1\nrules:\n  a: [{text: x, about: sky}]", 3, "rules.a", "unknown topic 'sky'"),
    ("grammar: 1\nforms: {long: b}\nrules:\n  a: x", 2, "forms.long", "unknown rule 'b'"),
    ("grammar: 1\nrules:\n  a: &x [y]\n  b: *x", 4, "YAML", "aliases and deep nesting are not read"),
    ("grammar: 1\nrules:\n  a: [x", 3, "YAML", "expected"),
    (
        "grammar: 1\nrules:\n" + "".join(f"  r{i}: '{{r{i + 1}}}{{r{i + 1}}}'\n" for i in range(60)) + "  r60: x",
        3,
        "rules.r0",
        "more than 2,000 parts",
    ),
]


@pytest.mark.parametrize(("text", "line", "field", "problem"), BAD, ids=[problem[:24] for *_, problem in BAD])
def test_what_is_wrong_is_named_with_its_place_and_field(text: str, line: int, field: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        loads(text, "my.yaml")
    assert re.match(rf"my\.yaml, line {line}, column \d+, {re.escape(field)}: ", str(caught.value))
    assert problem in str(caught.value)


def test_the_column_is_where_the_value_begins() -> None:
    with pytest.raises(DataError, match=r"^my\.yaml, line 5, column 25, rules\.a\[2\]\.weight: "):
        loads("grammar: 1\nrules:\n  a:\n    - x\n    - {text: y, weight: -1}", "my.yaml")
    with pytest.raises(DataError, match=r"^my\.yaml, line 3, column 9, YAML: a letter .* U\+0000"):
        loads("grammar: 1\nrules:\n  a: '月亮\0'", "my.yaml")
    with pytest.raises(DataError, match=r"^my\.yaml, line 4, column 7, rules\.b: unknown rule 'c'"):
        loads("grammar: 1\nrules:\n  a: '{b}'\n  b: ['x {c}']", "my.yaml")


def test_a_folder_with_a_grammar_is_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "greeter"
    folder.mkdir()
    (folder / "grammar.json").write_text('{"grammar": 1, "rules": {"hello": ["你好，{name}！"], "name": ["世界"]}}', encoding="utf-8")
    [content] = miaobi.generate(folder, seed=1)
    assert content.text == "你好，世界！"
    assert content.label.family == "rules"
    assert len(content.label.source) == 64


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    model = Rules.of("# a comment that stays\ngrammar: 1\nrules: {a: ['{b}{b}'], b: [x, y, z]}")
    model.save(folder)
    seal(folder, family="rules", name="saved")
    assert (folder / "grammar.yaml").read_bytes() == model.source
    again: list[Content] = miaobi.generate(folder, n=5, seed=3)
    assert [content.text for content in again] == [content.text for content in collect(model, Request.of(seed=3, n=5))]
