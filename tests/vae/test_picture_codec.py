"""Records of pictures to tensors: sizes, alpha, augmentation, memory, classes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import DataError, UsageError
from miaobi.core.families import families
from miaobi.core.schema import validate
from miaobi.core.types import Media, Modality, Record
from miaobi.data.pictures import encode, resize
from miaobi.models.common.augmentation import Augmentation, may_mirror
from miaobi.models.common.picture_codec import PictureCodec, class_names, from_pixels, to_pixels

torch = pytest.importorskip("torch")


def record(pixels: np.ndarray, name: str = "a", **meta: Any) -> Record:
    return Record(id=name, parts=(Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels)),), meta=meta)


def noise(size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 4)).astype(np.uint8)


def test_four_channels_are_premultiplied_and_come_back() -> None:
    pixels = noise()
    pixels[:4, :, 3] = 0
    batch = PictureCodec(8, 4).collate([record(pixels)])["pixels"]
    assert batch.shape == (1, 4, 8, 8)
    assert batch.dtype == torch.float32
    unit = pixels.astype(np.float32) / 255
    assert torch.allclose((batch[0, 0] + 1) / 2, torch.from_numpy(unit[..., 0] * unit[..., 3]), atol=1e-6)
    (back,) = to_pixels(batch.numpy())
    assert (back[:4] == 0).all(), "what cannot be seen has no colour"
    assert (back[..., 3] == pixels[..., 3]).all()
    seen = pixels[..., 3] > 0
    assert np.abs(back[seen].astype(int) - pixels[seen]).max() <= 1


def test_three_channels_lie_over_the_background() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (PictureCodec(8, 3).collate([record(clear)])["pixels"] == 1).all()
    red = PictureCodec(8, 3, augmentation=Augmentation(background="#ff0000")).collate([record(clear)])["pixels"]
    assert red[0, :, 0, 0].tolist() == [1, -1, -1]


def test_grey_is_weighed_as_the_eye_does() -> None:
    green = np.full((8, 8, 4), (0, 255, 0, 255), np.uint8)
    batch = PictureCodec(8, 1).collate([record(green)])["pixels"]
    assert batch.shape == (1, 1, 8, 8)
    assert float(batch[0, 0, 0, 0]) == pytest.approx(2 * 0.587 - 1, abs=0.01)


def test_another_size_is_resized_by_area() -> None:
    pixels = noise(16)
    pixels[..., 3] = 255
    batch = PictureCodec(8, 3).collate([record(pixels)])["pixels"]
    (back,) = to_pixels(batch.numpy())
    assert (back == resize(pixels, (8, 8))).all()
    means = pixels.astype(float).reshape(8, 2, 8, 2, 4).mean((1, 3))
    assert np.abs(back - means).max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_and_tensors_are_each_others_inverse(channels: int) -> None:
    batch = PictureCodec(8, channels).collate([record(noise(seed=3)), record(noise(seed=4))])["pixels"].numpy()
    assert np.abs(from_pixels(to_pixels(batch), channels) - batch).max() <= 2 / 255


def test_without_a_generator_nothing_is_drawn_and_with_one_it_repeats() -> None:
    records = [record(noise(seed=n)) for n in range(6)]
    codec = PictureCodec(8, 4, augmentation=Augmentation(flip=True, crop=2, scale=0.2, colour=0.3))
    plain = codec.collate(records)["pixels"]
    assert torch.equal(plain, PictureCodec(8, 4).collate(records)["pixels"])
    first, same, other = (codec.collate(records, rng=np.random.default_rng(seed))["pixels"] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)
    assert first.abs().max() <= 1


def test_a_shift_moves_pixels_and_repeats_the_border() -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[4, 4] = 255
    codec = PictureCodec(8, 4, augmentation=Augmentation(crop=2))
    places = set()
    for seed in range(40):
        alpha = codec.collate([record(picture)], rng=np.random.default_rng(seed))["pixels"][0, 3]
        assert (alpha == 1).sum() == 1, "one pixel stays one pixel"
        places.add(tuple(np.argwhere(alpha.numpy() == 1)[0].tolist()))
    assert {abs(y - 4) for y, _ in places} == {0, 1, 2}


def test_lettering_is_never_mirrored() -> None:
    half = np.zeros((8, 8, 4), np.uint8)
    half[:, :4] = 255
    codec = PictureCodec(8, 4, augmentation=Augmentation(flip=True))
    records = [record(half, "a"), record(half, "b", flip=False)]
    seen = [codec.collate(records, rng=np.random.default_rng(seed))["pixels"][:, 3, 0, 0].tolist() for seed in range(20)]
    assert {first for first, _ in seen} == {1.0, -1.0}
    assert {second for _, second in seen} == {1.0}


@pytest.mark.parametrize(
    ("meta", "allowed"),
    [
        ({}, True),
        ({"flip": False}, False),
        ({"class": "7"}, False),
        ({"class": "cat"}, True),
        ({"concept": "left-facing fist"}, False),
        ({"caption": {"en": ["right arrow"]}}, False),
        ({"caption": {"en": ["bright star", "a copyright-free leftover"], "zh": ["星星表情"]}}, True),
        ({"caption": {"zh": ["三点半"]}}, False),
        ({"caption": {"zh": "朝左的拳头"}}, False),
        ({"caption": {"en": ["three o’clock"]}}, False),
        ({"caption": {"en": ["watermelon"], "zh": ["西瓜"]}}, True),
    ],
)
def test_what_a_mirror_would_belie_is_known_by_its_words(meta: dict[str, Any], allowed: bool) -> None:
    assert may_mirror(record(noise(), **meta)) is allowed


@pytest.mark.parametrize("channels", [1, 3])
def test_changed_colours_leave_the_background_alone(channels: Any) -> None:
    half = np.zeros((8, 8, 4), np.uint8)
    half[:, :4] = (200, 100, 50, 255)
    codec = PictureCodec(8, channels, augmentation=Augmentation(colour=0.5, background="#0000ff"))
    plain = codec.collate([record(half)])["pixels"]
    flat = PictureCodec(8, channels, augmentation=Augmentation(background="#0000ff"))
    assert torch.allclose(plain, flat.collate([record(half)])["pixels"], atol=0.01)
    changed = codec.collate([record(half)], rng=np.random.default_rng(0))["pixels"]
    assert torch.equal(changed[..., 4:], plain[..., 4:])
    assert (changed[..., :4] - plain[..., :4]).abs().max() > 0.05


def test_every_family_that_learns_from_pictures_has_the_same_keys() -> None:
    given = {"background": "random", "flip": True, "crop": 3, "scale": 0.1, "colour": 0.2}
    for name in ("vae", "gan", "diffusion", "style", "caption", "scorer"):
        config = validate(families()[name].schemas()[0], {**families()[name].tiny, **given}, name)
        assert isinstance(config, Augmentation)
        assert config.model_dump(include=set(given)) == given
        with pytest.raises(UsageError, match="unknown colour 'blurple'"):
            validate(families()[name].schemas()[0], {**families()[name].tiny, "background": "blurple"}, name)


def test_a_random_background_differs_by_picture_in_training_only() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    codec = PictureCodec(8, 3, augmentation=Augmentation(background="random"))
    assert (codec.collate([record(clear)])["pixels"] == 1).all()
    batch = codec.collate([record(clear)] * 3, rng=np.random.default_rng(0))["pixels"]
    assert len({tuple(corner.tolist()) for corner in batch[:, :, 0, 0]}) == 3


def test_pictures_are_remembered_up_to_a_limit_and_not_pickled() -> None:
    records = [record(noise(seed=n), str(n)) for n in range(3)]
    codec = PictureCodec(8, 4, cache_bytes=2 * 8 * 8 * 4)
    first = codec.collate(records)["pixels"]
    assert len(codec._decoded) == 2
    assert torch.equal(codec.collate(records)["pixels"], first)
    copy = pickle.loads(pickle.dumps(codec))
    assert not copy._decoded
    assert torch.equal(copy.collate(records)["pixels"], first)


def test_classes_are_numbered_and_an_unknown_one_is_an_error() -> None:
    records = [record(noise(), str(n), **{"class": name}) for n, name in enumerate(["10", "9", "cat", "9"])]
    names = class_names(records)
    assert names == ("9", "10", "cat"), "numbers in their order, then words"
    codec = PictureCodec(8, classes=names)
    assert codec.collate(records)["labels"].tolist() == [1, 0, 2, 0]
    with pytest.raises(DataError, match="class 'dog'"):
        codec.collate([record(noise(), **{"class": "dog"})])
    with pytest.raises(DataError, match="no meta 'class'"):
        class_names([record(noise())])


def test_a_record_without_a_picture_is_named() -> None:
    with pytest.raises(DataError, match="record poem has no picture"):
        PictureCodec(8).collate([Record(id="poem", parts=("春",))])
