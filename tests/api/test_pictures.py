"""Pictures through the Python API: what goes in, what comes out labelled, and that nothing leaves without its label."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import miaobi
from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Content, Media, Modality, Piece, Progress
from miaobi.trust import label, pictures, watermark


def test_the_bytes_of_a_content_carry_its_label(daub: Path) -> None:
    for content in miaobi.generate("daub", "一只猫", n=2, seed=4):
        (part,) = content.parts
        assert isinstance(part, Media)
        found = pictures.read(part.data)
        assert label.from_dict(found.label) == content.label
        assert found.implicit == label.implicit(content.label)
        assert found.sha256 == content.label.content_sha256 == label.content_sha256(content.parts)


def test_the_same_seed_draws_the_same_in_any_number(daub: Path) -> None:
    many = miaobi.generate("daub", n=3, seed=4)
    again = miaobi.generate("daub", n=2, seed=4)
    assert [content.label.content_sha256 for content in many[:2]] == [content.label.content_sha256 for content in again]


def test_progress_and_previews_stream(daub: Path) -> None:
    chunks = list(miaobi.load("daub").stream("x", seed=1, steps=3))
    assert [type(chunk) for chunk in chunks[:3]] == [Progress] * 3
    shown = [chunk.preview for chunk in chunks if isinstance(chunk, Progress)]
    assert all(isinstance(one, Media) and pictures.decode(one.data).shape == (24, 24, 4) for one in shown)
    assert isinstance(chunks[-1], Content)


def test_marks_are_in_the_streamed_pieces_too(daub: Path) -> None:
    chunks = list(miaobi.load("daub").stream("x", seed=1, size=128, mark="zh", watermark="image"))
    (piece,) = [chunk for chunk in chunks if isinstance(chunk, Piece)]
    (content,) = [chunk for chunk in chunks if isinstance(chunk, Content)]
    assert isinstance(piece.part, Media)
    assert pictures.sha256(piece.part.data) == content.label.content_sha256
    payload = watermark.payload_of(content.label.source, content.label.request_sha256, 0)
    assert watermark.detect(pictures.decode(piece.part.data)).agreeing(payload) == 64
    assert content.label.mark == "AI生成 bottom-right"
    assert content.label.watermark == watermark.describe(payload)


def test_a_watermark_that_has_no_room_is_not_claimed(daub: Path) -> None:
    (content,) = miaobi.generate("daub", seed=1, size=24, watermark="image")
    assert content.label.watermark == ""
    (plain,) = miaobi.generate("daub", seed=1, size=24)
    assert content.label.content_sha256 == plain.label.content_sha256


def test_the_recipe_may_ask_for_the_watermark(workplace: Path) -> None:
    from miaobi_dauber import Dauber

    from miaobi.core.artifact import new_folder, seal

    with new_folder(Path("artifacts/marked")) as new:
        Dauber().save(new)
        recipe = "version: 1\nname: marked\nmodel: {family: dauber}\ntrust: {watermark: image}\n"
        (new / "recipe.yaml").write_text(recipe, encoding="utf-8")
        seal(new, family="dauber", name="marked")
    assert miaobi.generate("marked", seed=1, size=128)[0].label.watermark.startswith("dwt-svd-1:")
    assert miaobi.generate("marked", seed=1, size=128, watermark="none")[0].label.watermark == ""


def test_a_picture_may_come_in_many_ways(daub: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    image = Image.fromarray(array)
    image.save("start.png")
    data = Path("start.png").read_bytes()
    media = Media(modality=Modality.IMAGE, mime="image/png", data=data)
    made = [miaobi.generate("daub", image=given, seed=1)[0] for given in ("start.png", Path("start.png"), data, media, array, image)]
    assert len({content.label.content_sha256 for content in made}) == 1
    assert made[0].label.parents == (f"image:{hashlib.sha256(data).hexdigest()}",)
    several = miaobi.generate("daub", image=[array, array], seed=1)[0]
    assert len(several.label.parents) == 2
    mask = array[..., 0] > 128
    masked = miaobi.generate("daub", image=array, mask=mask, seed=1)[0]
    part = masked.parts[0]
    assert isinstance(part, Media)
    assert (pictures.decode(part.data)[~mask][:, :3] == array[~mask]).all()


def test_pictures_that_cannot_be_used_are_explained(daub: Path, polly: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "PNG")
    for given, error, words in (
        ({"image": picture.astype(float)}, UsageError, "float64"),
        ({"image": np.zeros((0, 8, 3), np.uint8)}, UsageError, r"\(0, 8, 3\)"),
        ({"image": np.zeros((8, 8, 5), np.uint8)}, UsageError, r"uint8 array"),
        ({"image": 7}, UsageError, "int"),
        ({"image": b""}, DataError, "cannot be read"),
        ({"image": buffer.getvalue()[:60]}, DataError, "cannot be read"),
        ({"image": "no\0name"}, UsageError, "cannot be read"),
        ({"image": "x" * 5000}, UsageError, "cannot be read"),
        ({"mask": picture}, UsageError, "give the picture too"),
        ({"image": picture, "mask": picture[:4]}, UsageError, "8 × 4"),
        ({"mark": "fr"}, UsageError, "unknown mark 'fr'"),
        ({"watermark": "audio"}, UsageError, "unknown watermark 'audio'"),
    ):
        with pytest.raises(error, match=words):
            miaobi.generate("daub", **given)
    for given, words in (
        ({"image": picture}, "takes no image"),
        ({"mark": "zh"}, "nothing that can be marked"),
        ({"watermark": "image"}, "no pictures"),
    ):
        with pytest.raises(UsageError, match=words):
            miaobi.generate("polly", **given)


def test_replay_names_what_differs(daub: Path) -> None:
    from miaobi_dauber import Dauber

    (content,) = miaobi.generate("daub", seed=2, steps=1)
    label.write(content, Path("cat.png"))
    assert miaobi.replay("cat.png").identical
    Dauber._disc, disc = (lambda self, canvas, key: canvas.__setitem__((0, 0, 0), 7)), Dauber._disc  # another version of the family
    try:
        replayed = miaobi.replay("cat.png")
    finally:
        Dauber._disc = disc
    assert not replayed.identical
    assert "of 576 pixels differ, by at most" in replayed.difference


def test_a_content_of_text_is_not_written_as_a_picture_nor_the_reverse(daub: Path, polly: Path) -> None:
    for model, name in (("polly", "poem.png"), ("daub", "cat.md")):
        with pytest.raises(UsageError, match="hold"):
            label.write(miaobi.generate(model, seed=1)[0], Path(name))
        assert not Path(name).exists()
