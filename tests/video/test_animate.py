"""What a person asks of a clip and gets: the given picture first, motion as strong and as fast as wanted, errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.artifact import new_folder, seal
from miaobi.core.errors import UsageError
from miaobi.core.types import Media, Modality, Record, Request
from miaobi.data import pictures, videos
from miaobi.engine.generate import collect

pytest.importorskip("torch")

TINY: dict[str, Any] = {"size": 16, "frames": 4, "grid": 4, "width": 32, "layers": 1, "heads": 2, "text_width": 32, "words": 50}


@pytest.fixture(scope="module")
def model(films: list[Record]) -> Any:
    """A model of motion whose last layers are not silent, as if it had learned."""
    return alive(TINY, films)


def alive(config: dict[str, Any], films: list[Record]) -> Any:
    import torch

    from miaobi.models.video.model import Video

    torch.set_num_threads(1)
    made = Video.create(config, films, seed=1)
    torch.manual_seed(0)
    for layer in (made.network.denoiser.output, made.network.denoiser.modulation_output):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return made


def media(pixels: np.ndarray) -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(pixels), name="image")


def clips(model: Any, *parts: Any, **options: Any) -> list[videos.Clip]:
    contents = collect(model, Request.of(parts, seed=3, **{"steps": 3, **options}))
    return [videos.decode(part.data) for content in contents for part in content.parts if isinstance(part, Media)]


def test_the_given_picture_comes_first_and_then_moves(model: Any, picture: Media) -> None:
    [clip] = clips(model, "圆", picture)
    first = pictures.decode(picture.data)
    assert clip.frames.shape == (12, 16, 16, 4)  # three shown for each of four
    assert clip.fps == pytest.approx(18, rel=0.01)
    assert (clip.frames[0] == first).all()
    assert (clip.frames[6] != first).any()


def test_motion_speed_and_smoothness_are_asked_for(model: Any, picture: Media) -> None:
    [still] = clips(model, picture, motion=0.0)
    assert (still.frames == pictures.decode(picture.data)).all()
    weak, strong = (clips(model, picture, motion=amount, smooth=1)[0].frames.astype(int) for amount in (0.5, 2.0))
    assert np.abs(weak - weak[:1]).mean() < np.abs(strong - strong[:1]).mean()
    [slow] = clips(model, picture, fps=5.0, smooth=2)
    assert (len(slow.frames), slow.fps) == (8, pytest.approx(5))


def test_pictures_of_any_size_and_shape_move_at_their_own(model: Any, picture: Media) -> None:
    wide = np.zeros((30, 80, 4), np.uint8)
    wide[5:25, 20:60] = (10, 90, 200, 255)
    assert clips(model, media(wide))[0].frames.shape[1:3] == (30, 80)
    assert clips(model, media(wide), size=40)[0].frames.shape[1:3] == (15, 40)
    large = np.zeros((600, 300, 4), np.uint8)
    large[100:500, 50:250] = 255
    assert clips(model, media(large), smooth=1)[0].frames.shape[1:3] == (256, 128)
    assert clips(model, picture, size=64)[0].frames.shape[1:3] == (64, 64)


def test_several_clips_differ_and_repeat(model: Any, picture: Media) -> None:
    found = clips(model, "disc", picture, n=2)
    again = clips(model, "disc", picture, n=2)
    assert (found[0].frames != found[1].frames).any()
    for one, other in zip(found, again):
        assert (one.frames == other.frames).all()
    assert (clips(model, "disc", picture)[0].frames == found[0].frames).all()  # the others in a batch change nothing
    assert (clips(model, "disc", picture, guidance=4.0)[0].frames != found[0].frames).any()


def test_backgrounds(model: Any, picture: Media) -> None:
    [red] = clips(model, picture, background="#ff0000")
    assert tuple(red.frames[0, 0, 0]) == (255, 0, 0)
    with pytest.raises(UsageError, match="unknown colour"):
        clips(model, picture, background="reddish")


def test_what_is_missing_is_said(model: Any, picture: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="this model moves a picture: give it one"):
        clips(model, "")
    with pytest.raises(UsageError, match=r"--image cat.png.*unknown model 'nobody'"):
        clips(model, "a cat", painter="nobody")
    with pytest.raises(UsageError, match="2 pictures were given"):
        clips(model, picture, picture)


def test_words_alone_are_painted_first(model: Any, tmp_path: Path) -> None:
    """A painter of another family, found by its folder, draws the first frame; the label says which it was."""
    from miaobi.models.diffusion.model import Diffusion

    drawing = Record(id="1", parts=(media(np.full((8, 8, 4), 200, np.uint8)),), meta={"caption": {"en": ["a disc"]}})
    config = {"size": 8, "channels": 4, "width": 32, "layers": 1, "heads": 2, "conditions": ["text"], "text_width": 32, "text_layers": 1}
    with new_folder(tmp_path / "painter") as folder:
        Diffusion.create(config, [drawing], seed=1).save(folder)
        seal(folder, family="diffusion", name="painter")
    asked = Request.of("a disc", seed=3, steps=2, painter=str(tmp_path / "painter"))
    [content] = collect(model, asked)
    assert isinstance(content.parts[0], Media)
    assert videos.decode(content.parts[0].data).frames.shape[1:3] == (8, 8)
    assert len(str(content.label.notes["painter"])) == 64


def test_models_of_frames_need_no_picture_and_keep_a_given_one(films: list[Record], picture: Media) -> None:
    model = alive({**TINY, "space": "pixels", "patch": 4, "first_dropout": 0.5}, films)
    [clip] = clips(model, "圆")
    assert clip.frames.shape[:3] == (4, 16, 16)
    [given] = clips(model, "圆", picture)
    first = pictures.decode(picture.data)
    assert (given.frames[0] == first).all()
    assert (given.frames[1] != first).any()
    with pytest.raises(UsageError, match="pictures of 16 pixels, not of 32"):
        clips(model, "圆", size=32)


def test_a_codec_of_pictures_makes_the_frames_of_a_model_of_latents(films: list[Record], picture: Media, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from miaobi.models.vae.model import VAE
    from miaobi.models.video.runtime import VideoRuntime

    stills = [Record(id="1", parts=(picture,))]
    shape = {"size": 16, "channels": 4, "patch": 4, "widths": [8, 16], "blocks": 1, "latent": 4, "vector": False, "kind": "plain"}
    with new_folder(tmp_path / "codec") as folder:
        VAE.create(shape, stills, seed=1).save(folder)
        seal(folder, family="vae", name="codec")
    model = alive({**TINY, "space": "latents", "codec": str(tmp_path / "codec"), "patch": 2}, films)
    batch = model.codec.collate(films)
    assert model.loss(batch, "main").count == len(films)
    again = model.codec.collate([films[0], Record(id="new", parts=films[1].parts), films[2]])
    assert (again["old"].tolist(), again["fresh"].tolist(), len(again["clips"])) == ([0, 2], [1], 1)  # nothing is decoded twice
    assert model.loss(again, "main").count == 3
    [clip] = clips(model, "圆", picture)
    assert clip.frames.shape[:3] == (4, 16, 16)
    model.save(tmp_path)
    model.export(tmp_path, formats=["fp32", "int8"])
    [light] = clips(VideoRuntime.load(tmp_path), "圆", picture)
    assert np.abs(light.frames.astype(int) - clip.frames).max() <= 2
    assert "codec" not in (tmp_path / "config.json").read_text().replace('"codec": "inside"', "")


def test_a_thing_on_a_plain_ground_is_cut_out() -> None:
    from miaobi.models.video.first import cut_out

    ring = np.full((20, 20, 3), 250, np.uint8)
    ring[4:16, 4:16] = (200, 30, 30)
    ring[8:12, 8:12] = 250  # a hole: of the ground's colour, but inside
    ring[0, 3] = 245
    seen = cut_out(ring)
    assert (seen[:4, :, 3] == 0).all()
    assert (seen[4:16, 4:16, 3] == 255).all()
    photo = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    assert (cut_out(photo)[..., 3] == 255).all()
    plain = np.full((5, 5, 3), 9, np.uint8)
    assert (cut_out(plain)[..., 3] == 255).all()  # nothing would be left


def test_mirrored_clips_move_the_other_way(films: list[Record]) -> None:
    """What the model is told of a mirrored clip is what it would be told of the mirrored film."""
    import torch

    from miaobi.models.video.model import Video

    model = Video.create({**TINY, "flip": True}, films, seed=1)
    plain = model.codec.collate(films[3:4])  # a square that goes across
    first, clean = model._clean(plain)
    turned_first, turned = model._clean({**plain, "mirrored": torch.tensor([True])})
    assert torch.equal(turned_first, first.flip(-1))
    assert torch.equal(turned[:, :, 0], -clean[:, :, 0].flip(-1))  # to the left instead of to the right
    assert torch.equal(turned[:, :, 1], clean[:, :, 1].flip(-1))
    mirrored = model.network.encode(plain["clips"].flip(-1))[:, :, 0]  # found by descent, so not to the last digit
    assert float((turned[:, :, 0] * mirrored).sum()) > 0.8 * float(mirrored.square().sum())
