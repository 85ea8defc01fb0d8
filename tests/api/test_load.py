"""Finding, loading and using a model through the Python API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import miaobi
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Content, Piece


def test_a_name_a_folder_and_a_path_mean_the_same_model(polly: Path) -> None:
    cards = [miaobi.load(which).card for which in ("polly", "artifacts/polly", polly)]
    assert cards[0] == cards[1] == cards[2]
    assert (cards[0].name, cards[0].family, cards[0].licence) == ("polly", "parrot", "CC0-1.0")
    assert len(cards[0].source) == 64


def test_the_home_folder_holds_models_too(polly: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "models").mkdir(parents=True)
    polly.rename(tmp_path / "home" / "models" / "molly")
    assert "molly" in [known.name for known in miaobi.list_models()]
    assert miaobi.load("molly").generate("x", seed=1)[0].label.model == "polly"  # the label names what was sealed


def test_generate_returns_labelled_contents(polly: Path) -> None:
    contents = miaobi.load("polly").generate("题目", n=3, seed=7, lines=1)
    assert len(contents) == 3
    assert all(content.text.startswith("题目\n") and content.label.ai_generated for content in contents)
    assert [content.label.index for content in contents] == [0, 1, 2]
    assert contents[0].label.options == {"lines": 1, "loud": False, "ending": "none", "n": 3}
    assert miaobi.generate("polly", "题目", n=3, seed=7, lines=1)[2].text == contents[2].text


def test_without_a_seed_every_call_draws_one_and_the_label_tells_it(polly: Path) -> None:
    loaded = miaobi.load("polly")
    first, second = (loaded.generate("", lines=20)[0] for _ in range(2))
    assert first.label.seed != second.label.seed
    assert first.text != second.text
    assert loaded.generate("", lines=20, seed=first.label.seed)[0].text == first.text


def test_stream_gives_pieces_that_add_up_to_the_content(polly: Path) -> None:
    chunks = list(miaobi.load("polly").stream("", seed=1, n=2))
    pieces = [chunk for chunk in chunks if isinstance(chunk, Piece)]
    contents = [chunk for chunk in chunks if isinstance(chunk, Content)]
    for index, content in enumerate(contents):
        assert "".join(str(piece.part) for piece in pieces if piece.index == index) == content.text
    assert len(contents) == 2


def test_unknown_things_are_named_with_the_nearest_known(polly: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'poly'. Did you mean 'polly'"):
        miaobi.load("poly")
    with pytest.raises(UsageError, match=r"unknown runtime 'onyx'. Did you mean 'onnx'"):
        miaobi.load("polly", runtime="onyx")
    with pytest.raises(UsageError, match=r"unknown key 'lynes'. Did you mean 'lines'"):
        miaobi.load("polly").generate("", lynes=3)
    with pytest.raises(ArtifactError, match=r"no ONNX graph"):
        miaobi.load("polly", runtime="onnx")


def test_a_flipped_byte_is_refused(polly: Path) -> None:
    data = bytearray((polly / "lines.json").read_bytes())
    data[5] ^= 1
    (polly / "lines.json").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"lines.json is damaged"):
        miaobi.load("polly")
    with pytest.raises(ArtifactError, match=r"lines.json is damaged"):
        miaobi.verify("polly")


def test_a_newer_format_and_an_unfinished_folder_are_refused(polly: Path) -> None:
    manifest = json.loads((polly / "miaobi.json").read_text(encoding="utf-8"))
    (polly / "miaobi.json").write_text(json.dumps(manifest | {"format": 99}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"format 99"):
        miaobi.load(polly)
    (polly / "miaobi.json").unlink()
    with pytest.raises(ArtifactError, match=r"miaobi.json is missing"):
        miaobi.load(polly)


def test_replay_makes_the_same_content_and_notices_a_change(polly: Path) -> None:
    from miaobi.trust import label

    content = miaobi.load("polly").generate("题目", n=3, seed=7)[1]
    path = Path("poem.md")
    label.write(content, path)
    replayed = miaobi.replay(path)
    assert replayed.identical
    again = Path("again.md")
    label.write(replayed.content, again)
    assert again.read_bytes() == path.read_bytes()
    assert miaobi.verify(path).good
    path.write_text(path.read_text(encoding="utf-8").replace("题目\n", "别的\n"), encoding="utf-8")
    assert not miaobi.verify(path).good


def test_replay_needs_the_very_model(polly: Path) -> None:
    from miaobi_parrot import Parrot

    from miaobi.core.artifact import new_folder, seal
    from miaobi.trust import label

    label.write(miaobi.generate("polly", seed=1)[0], Path("poem.txt"))
    with new_folder(Path("artifacts/rival")) as new:
        Parrot(["别的"]).save(new)
        seal(new, family="parrot", name="rival")
    with pytest.raises(ArtifactError, match=r"not the one that made this content"):
        miaobi.replay("poem.txt", model="rival")
    polly.rename("elsewhere")
    with pytest.raises(ArtifactError, match=r"is not here; name its folder with --model"):
        miaobi.replay("poem.txt")
    assert miaobi.replay("poem.txt", model="./elsewhere").identical


def test_show_tells_what_a_thing_is(polly: Path) -> None:
    from miaobi.trust import label

    label.write(miaobi.generate("polly", seed=3)[0], Path("poem.txt"))
    Path("r.yaml").write_text("version: 1\nname: r\nmodel: {family: parrot}\n", encoding="utf-8")
    assert miaobi.show("poem.txt")["seed"] == 3
    assert miaobi.show("polly")["files"].keys() == {"lines.json"}
    assert "noto" in miaobi.show("painter")["choices"]["style"]
    assert "af_heart" in miaobi.show("narrator")["choices"]["voice"]
    assert miaobi.show("r.yaml")["train"]["steps"] == 1000
    with pytest.raises(UsageError, match=r"unknown model 'nothing'"):
        miaobi.show("nothing")
