"""A written file holds its text and exactly one of each label, whatever the text is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Content
from miaobi.trust import aigc, label
from miaobi.trust.formats import FORMATS, VISIBLE, Marked

MakeContent = Callable[[str], Content]
POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
AWKWARD = [
    POEM,
    "",
    "\n\n",
    "---\ntitle: mine\n---\n\nbody\n",
    '---\nAIGC: {"Label": "1"}\nmiaobi: {}\n---\n',
    "Text with AIGC: and\n---\nin the middle",
    f"{POEM}\n\n{VISIBLE['zh']}\n",
    f"{VISIBLE['en']}",
    "windows\r\nlines\rand bare",
    '</article><footer>x</footer><meta name="AIGC" content="{}"> &amp; &#13; "quoted"',
    '{"aigc": {}, "text": "not this"}',
    "\ufeffmarked 𠮷野家 👩‍👩‍👧 \u2028 \x85 end",
]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("text", AWKWARD)
def test_every_text_comes_back_with_its_label(tmp_path: Path, content: MakeContent, suffix: str, text: str) -> None:
    made = content(text)
    path = tmp_path / f"poem{suffix}"
    label.write(made, path)
    assert label.read_marked(path).text == text
    assert label.read(path) == made.label


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])), prompt=st.text(st.characters(exclude_categories=["Cs"])))
def test_encode_and_decode_are_inverse(suffix: str, text: str, prompt: str) -> None:
    marked = Marked(text=text, implicit=aigc.implicit("f00", by="me"), label={"prompt": prompt, "t": 1e-5}, visible=VISIBLE["en"])
    format = FORMATS[suffix]
    back = format.decode(format.encode(marked))
    assert (back.text, back.visible) == (text, VISIBLE["en"])
    if not format.sidecar:
        assert back == marked


def test_markdown_front_matter_is_yaml_with_the_standard_keys_in_order(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.md"
    label.write(content(POEM), path)
    values = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
    assert tuple(values["AIGC"]) == aigc.KEYS
    assert values["AIGC"]["Label"] == "1"
    assert values["AIGC"]["ContentProducer"] == values["AIGC"]["ContentPropagator"] == "miaobi"
    assert values["AIGC"]["ProduceID"] == values["AIGC"]["PropagateID"] != ""
    assert all(aigc.permitted(value) for value in values["AIGC"].values())
    assert values["miaobi"]["prompt"] == POEM
    assert values["miaobi"]["seed"] == 7


def test_an_editor_may_reformat_the_front_matter(tmp_path: Path, content: MakeContent) -> None:
    made = content(POEM)
    path = tmp_path / "poem.md"
    label.write(made, path)
    _, front, rest = path.read_text(encoding="utf-8").split("---\n")
    block = yaml.safe_dump({"title": "静夜思", **yaml.safe_load(front)}, allow_unicode=True)
    path.write_text(f"---\n{block}---\n{rest}", encoding="utf-8")
    assert label.read(path).content_sha256 == made.label.content_sha256
    assert label.read_marked(path).text == POEM


def test_text_has_a_sidecar(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.txt"
    label.write(content(POEM), path)
    assert path.read_text(encoding="utf-8") == f"{POEM}\n\n本内容由人工智能生成\n"
    values = json.loads((tmp_path / "poem.txt.aigc.json").read_text(encoding="utf-8"))
    assert tuple(values["AIGC"]) == aigc.KEYS
    assert label.from_dict(values["miaobi"]).prompt == POEM


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_second_write_replaces_the_label(tmp_path: Path, content: MakeContent, suffix: str) -> None:
    path = tmp_path / f"poem{suffix}"
    label.write(content("old one"), path)
    label.write(content(POEM), path)
    files = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert files.count("ContentProducer") == 1
    assert "old one" not in files
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(".tmp")]


def test_those_who_read_chinese_read_the_words_in_chinese(tmp_path: Path, content: MakeContent) -> None:
    for text, language, words in ((POEM, "", "本内容由人工智能生成"), ("a poem", "", "AI-generated"), (POEM, "en", "AI-generated")):
        label.write(content(text), tmp_path / "poem.txt", language=language)
        assert (tmp_path / "poem.txt").read_text(encoding="utf-8").endswith(f"\n\n{words}\n")
    assert label.visible("zh") == "本内容由人工智能生成"
    assert label.visible() == "AI-generated"


def test_the_producer_is_configuration(tmp_path: Path, content: MakeContent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_PRODUCER", "Example-Press")
    label.write(content(POEM), tmp_path / "poem.md")
    assert label.read_marked(tmp_path / "poem.md").implicit["ContentProducer"] == "Example-Press"
    for wrong in ("Example Press", "某公司", 'a"b', "a\\b"):
        monkeypatch.setenv("MIAOBI_PRODUCER", wrong)
        with pytest.raises(UsageError, match="MIAOBI_PRODUCER"):
            label.write(content(POEM), tmp_path / "other.md")
        assert not (tmp_path / "other.md").exists()


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, content: MakeContent) -> None:
    with pytest.raises(UsageError, match=r"\.md, \.txt, \.json, \.html, \.png, .*, not in '\.docx'"):
        label.write(content(POEM), tmp_path / "poem.docx")


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "plain.md").write_text("no label", encoding="utf-8")
    for name, words in (
        ("none.md", "there is no file"),
        ("folder.md", "is a folder"),
        ("binary.md", "not UTF-8"),
        ("plain.md", "no label"),
    ):
        with pytest.raises(UsageError, match=words):
            label.read(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "miaobi.label/2"},
        {"seed": "7"},
        {"seed": True},
        {"model": None},
        {"options": []},
        {"mood": "good"},
    ],
)
def test_a_damaged_or_newer_label_is_an_error(content: MakeContent, change: dict[str, object]) -> None:
    values = label.to_dict(content(POEM).label)
    assert label.from_dict(values).seed == 7
    with pytest.raises(ArtifactError):
        label.from_dict(values | change)
    del values["model"]
    with pytest.raises(ArtifactError, match="model"):
        label.from_dict(values)


@pytest.mark.parametrize("wrapped", [True, False])
def test_foreign_labels_are_read_with_and_without_the_wrapper(wrapped: bool) -> None:
    inner = aigc.implicit("x1", by="other")
    value = {"AIGC": inner} if wrapped else inner
    assert aigc.parse(value) == aigc.parse(json.dumps(value)) == inner
    assert aigc.parse({"AIGC": json.dumps(inner)}) == inner


def test_no_label_is_no_label() -> None:
    assert aigc.parse("[" * 100_000) is None
    assert aigc.parse("not json") is None
    assert aigc.parse({"AIGC": {}}) is None
    assert aigc.problems({"Label": "9", "ContentProducer": "a b"}) != []
