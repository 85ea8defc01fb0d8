"""What a person may ask: texts, styles, batches, start pictures, masks, ways between two; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.diffusion.conftest import COLOURS, TINY, drawing, media

from miaobi.core.errors import UsageError
from miaobi.core.types import Content, Media, Piece, Progress, Record, Request
from miaobi.data.pictures import decode
from miaobi.engine.generate import collect, run

pytest.importorskip("torch")


def ask(model: Any, *parts: Any, seed: int = 3, **options: Any) -> list[np.ndarray[Any, Any]]:
    """The pictures, transparent, as float RGBA."""
    options = {"background": "transparent", "steps": 12, "guidance": 1.5} | options
    return [pixels(content) for content in collect(model, Request.of(tuple(parts), seed=seed, **options))]


def pixels(content: Content) -> np.ndarray[Any, Any]:
    (part,) = content.parts
    assert isinstance(part, Media)
    assert part.mime == "image/png"
    return decode(part.data).astype(float)


def distance(found: Any, shape: str, colour: str, style: str) -> float:
    """Root mean square difference from a training picture, premultiplied."""
    expected = drawing(shape, COLOURS[colour][1], style == "full").astype(float)
    a, b = (np.concatenate([x[..., :3] * x[..., 3:] / 255, x[..., 3:]], axis=-1) for x in (found, expected))
    return float(np.sqrt(((a - b) ** 2).mean()))


@pytest.mark.parametrize("style", ["full", "pale"])
@pytest.mark.parametrize("shape", ["square", "bar"])
@pytest.mark.parametrize("colour", ["red", "blue"])
def test_it_draws_what_it_is_told_in_both_languages(learned: Any, colour: str, shape: str, style: str) -> None:
    from tests.diffusion.conftest import SHAPES

    for prompt in (f"{colour} {shape}", f"{COLOURS[colour][0]}{SHAPES[shape]}"):
        (found,) = ask(learned, prompt, style=style)
        distances = {(c, s, t): distance(found, s, c, t) for c in COLOURS for s in SHAPES for t in ("full", "pale")}
        assert min(distances, key=distances.__getitem__) == (colour, shape, style), prompt
        assert distances[colour, shape, style] < 45


def test_a_content_does_not_depend_on_its_batch(learned: Any) -> None:
    for sampler in ("euler", "ddpm"):
        together = ask(learned, "red bar", n=3, sampler=sampler)
        alone = ask(learned, "red bar", n=1, sampler=sampler)
        assert np.abs(together[0] - alone[0]).max() <= 1
        assert np.abs(together[0] - together[1]).max() > 1


def test_more_than_fit_in_a_pass(learned: Any) -> None:
    request = Request.of("red bar", seed=1, n=18, steps=2, background="transparent")
    chunks = list(run(learned, request))
    assert [chunk.index for chunk in chunks if isinstance(chunk, Content) is False and isinstance(chunk, Piece)] == list(range(18))
    progress = [chunk for chunk in chunks if isinstance(chunk, Progress)]
    assert [(chunk.step, chunk.total) for chunk in progress] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(chunk.preview is None for chunk in progress)


def test_previews_are_pictures(learned: Any) -> None:
    chunks = [chunk for chunk in run(learned, Request.of("red bar", steps=3, previews=True)) if isinstance(chunk, Progress)]
    assert [chunk.preview is not None for chunk in chunks] == [True, True, False]
    assert isinstance(chunks[0].preview, Media)
    assert decode(chunks[0].preview.data).shape == (8, 8, 4)


def test_a_background_is_a_choice(learned: Any) -> None:
    clear, white, green = (ask(learned, "red square", style="full", background=name)[0] for name in ("transparent", "white", "#00ff00"))
    assert clear[0, 0, 3] < 60
    assert clear[4, 4, 3] > 200
    assert (white[..., 3] == 255).all()
    assert white[0, 0, 1] > 200
    assert white[0, 0, 0] > 200
    assert green[0, 0, 1] > 200
    assert green[0, 0, 0] < 60


def test_negative_prompts_push_away(learned: Any) -> None:
    (told,) = ask(learned, "", style="full", negative="red square", guidance=3.0)
    (plain,) = ask(learned, "", style="full", guidance=3.0)
    assert distance(told, "square", "red", "full") > distance(plain, "square", "red", "full")


def test_notes_say_what_was_chosen(learned: Any) -> None:
    (content,) = collect(learned, Request.of("red bar", style="full", steps=2))
    assert dict(content.label.notes) == {"steps": 2, "guidance": 3.0, "sampler": "euler", "style": "full"}


def test_a_start_picture_is_kept_as_far_as_asked(learned: Any) -> None:
    start = media(drawing("square", COLOURS["red"][1], True))
    near, far = (ask(learned, "blue bar", start, style="full", steps=20, strength=strength)[0] for strength in (0.05, 1.0))
    assert distance(near, "square", "red", "full") < 30
    assert distance(near, "square", "red", "full") < distance(far, "square", "red", "full")
    assert distance(far, "bar", "blue", "full") < distance(near, "bar", "blue", "full")


def test_white_paper_is_seen_as_nothing(learned: Any) -> None:
    start = drawing("square", COLOURS["red"][1], True)
    on_paper = np.where(start[..., 3:] > 0, start, np.uint8(255))
    clear, white = (ask(learned, "red square", media(pixels), style="full", strength=0.3)[0] for pixels in (start, on_paper))
    assert np.abs(clear - white).max() <= 1


def test_only_what_is_masked_changes(learned: Any) -> None:
    start = drawing("square", COLOURS["red"][1], True)
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[..., 3] = 255
    mask[:, 4:, :3] = 255  # the right half is painted anew
    (found,) = ask(learned, "blue square", media(start, "image"), media(mask, "mask"), style="full")
    assert (found[:, :4] == start[:, :4]).all()
    assert np.abs(found[:, 4:] - start[:, 4:]).mean() > 10


def test_what_is_around_a_picture_is_drawn(learned: Any) -> None:
    start = drawing("square", COLOURS["red"][1], True)[2:6, 2:6]  # red all over, which becomes the middle again
    found, other = ask(learned, "red square", media(start, "image"), style="full", margin=0.25, n=2)
    assert (found[2:6, 2:6] == start).all()
    assert (other[2:6, 2:6] == start).all()
    assert distance(found, "square", "red", "full") < 45, "what the prompt wants around it is nothing"
    assert np.abs(found - other).max() > 1
    for given in ((), (media(start, "image"), media(start, "mask"))):
        with pytest.raises(UsageError, match="margin draws around a picture"):
            ask(learned, "red square", *given, margin=0.25)


def test_a_way_leads_from_one_prompt_to_another(learned: Any) -> None:
    way = ask(learned, "red square", to="blue square", style="full", n=5, guidance=1.0)
    ends = [ask(learned, prompt, style="full", guidance=1.0)[0] for prompt in ("red square", "blue square")]
    assert np.abs(way[0] - ends[0]).max() <= 1
    assert np.abs(way[-1] - ends[1]).max() <= 1
    redness = [float(picture[2:6, 2:6, 0].mean() - picture[2:6, 2:6, 2].mean()) for picture in way]
    assert redness[0] > redness[2] > redness[4]


def test_a_way_leads_from_one_seed_to_another(learned: Any) -> None:
    way = ask(learned, "red bar", to_seed=9, n=3, seed=3)
    ends = [ask(learned, "red bar", seed=seed)[0] for seed in (3, 9)]
    assert np.abs(way[0] - ends[0]).max() <= 1
    assert np.abs(way[-1] - ends[1]).max() <= 1


def test_variations_stay_near_the_first(learned: Any) -> None:
    free, near = (ask(learned, "", n=3, variation=variation, guidance=1.0) for variation in (1.0, 0.05))
    assert np.abs(free[0] - near[0]).max() <= 1
    assert np.abs(near[1] - near[0]).mean() < np.abs(free[1] - free[0]).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "ful"}, "unknown style 'ful'. Did you mean 'full'"),
        ({"size": 64}, "makes pictures of 8 pixels, not of 64"),
        ({"steps": 0}, "'steps' is 0: it should be at least 1"),
        ({"steps": 10**9}, "it should be at most 1000"),
        ({"guidance": -1.0}, "'guidance' is -1.0"),
        ({"background": "#12"}, "unknown colour '#12'"),
        ({"sampler": "eular"}, "'sampler' is 'eular'"),
        ({"strength": 0.0}, "'strength' is 0.0"),
        ({"strength": 0.5}, "give one as image"),
        ({"to": "blue bar"}, "to is about several pictures; ask for 2 or more with n"),
        ({"to_seed": 3}, "to_seed is about several pictures"),
        ({"variation": 0.3}, "variation is about several pictures"),
        ({"negative": "red", "guidance": 1.0}, "with guidance 1 it does nothing"),
    ],
)
def test_bad_options_are_explained(learned: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", "\\(")):
        ask(learned, "red bar", **options)


def test_bad_pictures_are_explained(learned: Any) -> None:
    start, mask = media(drawing("bar", (1, 2, 3), True)), media(np.zeros((4, 8, 4), np.uint8), "mask")
    with pytest.raises(UsageError, match="the mask has 8 by 4 pixels and the picture 8 by 8"):
        ask(learned, "red bar", start, mask)
    with pytest.raises(UsageError, match="a mask needs the picture"):
        ask(learned, "red bar", mask)


def test_what_a_model_cannot_is_said(records: list[Record]) -> None:
    from miaobi.models.diffusion.model import Diffusion

    model = Diffusion.create(TINY | {"channels": 3}, records)
    with pytest.raises(UsageError, match="knows no transparency"):
        ask(model, background="transparent")
    with pytest.raises(UsageError, match="reads no words"):
        ask(model, "red bar", background="white")
    with pytest.raises(UsageError, match="knows no styles"):
        ask(model, background="white", style="full")
    model = Diffusion.create(TINY | {"conditions": ["class"]}, records)
    with pytest.raises(UsageError, match="reads no words; leave out negative"):
        ask(model, "bar", negative="square")
    assert len(ask(model, "bar", steps=1)) == 1
    with pytest.raises(UsageError, match=r"unknown class 'baz'\. Did you mean 'bar'"):
        ask(model, "baz")


def test_an_enlarged_picture_shows_the_small_one() -> None:
    from miaobi.models.diffusion.paint import faithful

    rng = np.random.default_rng(0)
    small = np.clip(1.5 * rng.standard_normal((2, 4, 6, 6)), -1, 1).astype(np.float32)
    small[:, 3, :3] = -1  # transparent
    drawn = (small.repeat(2, axis=2).repeat(2, axis=3) + 0.2 * rng.standard_normal((2, 4, 12, 12))).astype(np.float32)
    large = faithful(drawn, small)
    assert np.abs(large.reshape(2, 4, 6, 2, 6, 2).mean((3, 5)) - small).max() < 0.03
    assert large[:, 3, :6].max() < -0.9, "what is transparent stays so"
    inside = np.abs(small).max() * np.ones_like(drawn)  # blocks that nothing was cut off of keep their edges
    free = (np.abs(large) < inside).reshape(2, 4, 6, 2, 6, 2).all((3, 5)).repeat(2, 2).repeat(2, 3)
    step = drawn[..., 1::2] - drawn[..., ::2]
    assert np.allclose((large[..., 1::2] - large[..., ::2])[free[..., ::2]], step[free[..., ::2]], atol=1e-5)
