"""The stages that draw, compose and read aloud; see `work` for the frame around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from miaobi.apps.create.chosen import Chosen, composer, painter, reader
from miaobi.apps.create.work import LeftOut, Poem, Work, by
from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Content, Media, Modality, Request

if TYPE_CHECKING:
    from miaobi.apps.create.studio import Made
    from miaobi.apps.create.words import Scene

COMPOSED_SECONDS = 34.0  # of music; the film repeats it when it is longer
VOICE_SPEED = {"zh": 0.88, "en": 0.92}  # verse is read slower than prose
Files = tuple[Sequence[str], Mapping[str, Any]]


def pictures(work: Work, poem: Poem) -> list[Made]:
    """The cover, and one picture a scene."""
    order = work.order
    chosen = painter(order)
    if chosen is None and order.image_model == "painter":
        work.leave_out("picture", tr("the model {model} is not here; words are set as seals instead", model="painter"))
    common = {"size": order.size, "draft": order.draft, "mood": poem.mood.name, "mark": work.mark, "seed": order.seed}
    made = [work.part("cover", "picture", {**common, "title": poem.title}, lambda: _cover(work, poem))]
    for number, scene in enumerate(poem.scenes, 1):
        if "picture" in work.needed:
            work.tick("picture", number - 1, len(poem.scenes))
        drawn = {} if work.own(f"picture-{number}") else _drawn(work, poem, scene, chosen)
        make = _picture_of(work, poem, scene, number, chosen)
        made.append(work.part(f"picture-{number}", "picture", {**common, **drawn}, make))
    if "picture" in work.needed:
        work.tick("picture", len(poem.scenes), len(poem.scenes))
    names = frozenset({"cover", *(f"picture-{number}" for number in range(1, len(poem.scenes) + 1))})
    if "picture" in work.needed:
        work.studio.forget("picture", names)
    return [each for each in made if each is not None]


def _drawn(work: Work, poem: Poem, scene: Scene, chosen: Chosen | None) -> dict[str, Any]:
    """What decides the sticker of a scene."""
    if chosen is None:
        return {"word": _word(scene)}
    return {"prompt": scene.picture.prompt(poem.language), "style": work.order.style or chosen.style, **chosen.inputs}


def _picture_of(work: Work, poem: Poem, scene: Scene, number: int, chosen: Chosen | None) -> Callable[[], Files]:
    return lambda: _picture(work, poem, scene, number, chosen)


def _picture(work: Work, poem: Poem, scene: Scene, number: int, chosen: Chosen | None) -> Files:
    """The sticker as the model drew it (or the person's own, or a seal), and the scene around it, with and without the visible mark."""
    from miaobi.apps.create import pictures as drawing
    from miaobi.data.pictures import decode, encode, mime_of

    part, files = f"picture-{number}", []
    prompt = scene.picture.prompt(poem.language)
    own = work.own(part)
    if own is not None:
        data, about = own.read_bytes(), {"by": "you"}
        sticker = Media(modality=Modality.IMAGE, mime=mime_of(data), data=data, name="picture")
    elif chosen is not None:
        options = chosen.options(style=work.order.style or chosen.style, background="transparent")
        [content] = work.load(chosen).generate(prompt, seed=work.seed(part), **options)
        sticker = next(each for each in content.parts if isinstance(each, Media) and each.modality is Modality.IMAGE)
        files.append(f"parts/sticker-{number}.png")
        work.write(content, files[0])
        about = by(content)
    else:
        sticker = Media(modality=Modality.IMAGE, mime="image/png", data=encode(drawing.seal(_word(scene))), name="seal")
        about = {"by": "create"}
    pixels = drawing.scene(decode(sticker.data), poem.mood, drawing.size_of(work.order), seed=work.seed(f"sky-{number}"))
    files += _framed(work, f"scene-{number}", part, pixels, Request.of((prompt, sticker), seed=work.seed(part), size=work.order.size))
    return [files[-1], *files[:-1]], {**about, "prompt": prompt, "word": scene.word}


def _cover(work: Work, poem: Poem) -> Files:
    from miaobi.apps.create import cover
    from miaobi.apps.create.pictures import size_of

    pixels = cover.draw(poem.title, poem.mood, size_of(work.order), seed=work.seed("cover"), vertical=poem.language == "zh")
    files = _framed(work, "cover", "cover", pixels, Request.of(poem.title, seed=work.seed("cover"), size=work.order.size))
    return files[::-1], {"by": "create", "title": poem.title}


def _framed(work: Work, bare: str, published: str, pixels: Any, request: Request) -> list[str]:
    """The pixels as two labelled files: for the film without the visible mark (it has its own), for publishing with it."""
    from miaobi.data.pictures import encode, rgba
    from miaobi.engine.generate import assembled
    from miaobi.trust import mark

    marked = mark.draw(rgba(pixels), work.mark) if work.mark else pixels
    names = [f"parts/{bare}.png", f"{published}.png"]
    for name, content, words in ((names[0], pixels, ""), (names[1], marked, mark.describe(work.mark) if work.mark else "")):
        media = Media(modality=Modality.IMAGE, mime="image/png", data=encode(content))
        work.write(assembled((media,), (), app="create", request=request, mark=words), name)
    return names


def _word(scene: Scene) -> str:
    """What a seal says."""
    return scene.word or scene.lines[0].strip("，。！？；、,.;:!?")[:4]


# ---------------------------------------------------------------- music


def music(work: Work, poem: Poem) -> Made | None:
    """The score and the music as it sounds."""
    order, mood = work.order, poem.mood
    own = work.own("music")
    chosen = None if own else composer(order)
    if own is None and chosen is None:
        if order.music_model == "composer":
            work.leave_out("music", tr("the model {model} is not here", model="composer"))
        if "music" in work.needed:
            work.studio.forget("music", frozenset())
        return None
    wanted = dict(mood.music[poem.language])
    inputs = {"title": poem.title, "wanted": wanted, "seed": order.seed, "mark": bool(work.mark), **(chosen.inputs if chosen else {})}
    return work.part("music", "music", inputs, lambda: _own_music(work) if chosen is None else _composed(work, poem, chosen, wanted))


def _own_music(work: Work) -> Files:
    from miaobi.core.artifact import write_bytes

    own = work.own("music")
    assert own is not None
    name = f"music{own.suffix.lower()}"
    write_bytes(work.studio.path(name), own.read_bytes())
    return [name], {"by": "you"}


def _composed(work: Work, poem: Poem, chosen: Chosen, wanted: Mapping[str, Any]) -> Files:
    """The score with its label beside it, and the same as MP3, the audible mark before it."""
    from miaobi.trust import label

    work.tick("music", 0, 2)
    bars = max(8, round(COMPOSED_SECONDS * float(wanted["tempo"]) / 240 / 4) * 4)
    options = chosen.options(**wanted, bars=bars, metre="4/4", parts=1, accompaniment="arpeggio")
    [content] = work.load(chosen).generate(poem.title, seed=work.seed("music"), **options)
    score = next((part for part in content.parts if isinstance(part, Media) and part.modality is Modality.MUSIC), None)
    if score is None:
        raise UsageError("the model {model} made no music; name another with --music-model", model=chosen.name)
    work.write(content, "music.mid", part=score)
    sidecar = label.sidecar(work.studio.path("music.mid")).name
    work.tick("music", 1, 2)
    files = ["music.mid", sidecar]
    try:
        files.append(work.write(_sounding(work, content, score), "music.mp3"))
    except MissingExtra as error:
        work.desk.news("the music is kept as a score only ({reason})", reason=error)
    work.tick("music", 2, 2)
    return files, {**by(content), "wanted": dict(wanted), "bars": bars}


def _sounding(work: Work, content: Content, score: Media) -> Content:
    """The content with the sound as its part, and a label that names the audible mark."""
    from miaobi.engine.convert import sounding
    from miaobi.trust import rhythm

    media = dataclasses.replace(sounding(score, "audio/mpeg", marked=bool(work.mark)), name="music.mp3")
    heard = rhythm.describe() if work.mark else ""
    return dataclasses.replace(content, parts=(media,), label=dataclasses.replace(content.label, mark=heard))


# ---------------------------------------------------------------- narration


def narration(work: Work, poem: Poem) -> dict[int, Made]:
    """A recording for the title (0) and for each scene, as far as somebody reads."""
    order = work.order
    texts = {0: poem.title, **{number: spoken(scene, poem.language) for number, scene in enumerate(poem.scenes, 1)}}
    silent = "none" in (order.voice, order.voice_model)
    chosen = reader(order)
    if chosen is None and not silent:
        work.leave_out("narration", tr("the model {model} is not here", model="narrator"))
    found: dict[int, Made] = {}
    for number, text in texts.items():
        part = f"narration-{number}"
        own = work.own(part) if part in order.replace or number else None
        if own is None and chosen is None:
            continue
        if "narration" in work.needed and not silent:
            work.tick("narration", number, len(texts))
        inputs = {"text": text, "voice": order.voice, "seed": order.seed, **(chosen.inputs if chosen and own is None else {})}
        made = work.part(part, "narration", inputs, _voice_of(work, number, text, chosen, poem.language))
        if made is None and "narration" in work.studio.left_out:
            break  # the extra is missing: it is so for every line
        if made is not None:
            found[number] = made
    if found and "narration" in work.needed:
        work.tick("narration", len(texts), len(texts))
    if "narration" in work.needed:
        work.studio.forget("narration", frozenset(f"narration-{number}" for number in found))
    return found


def spoken(scene: Scene, language: str) -> str:
    """The lines of a scene as they are read and shown."""
    return ("" if language == "zh" else "\n").join(scene.lines)


def _voice_of(work: Work, number: int, text: str, chosen: Chosen | None, language: str) -> Callable[[], Files]:
    return lambda: _voice(work, number, text, chosen, language)


def _voice(work: Work, number: int, text: str, chosen: Chosen | None, language: str) -> Files:
    from miaobi.core.artifact import write_bytes
    from miaobi.data import sounds
    from miaobi.engine.convert import fitting

    part, name = f"narration-{number}", f"parts/voice-{number}.wav"
    own = work.own(part)
    if own is not None:
        sound = sounds.decode(own.read_bytes())
        write_bytes(work.studio.path(name), sounds.encode(sound))
        return [name], {"by": "you", "length": round(sound.seconds, 3)}
    if chosen is None:
        raise LeftOut(tr("nobody reads"))
    options = chosen.options(voice=work.order.voice, speed=VOICE_SPEED[language], language=language)
    [content] = work.load(chosen).generate(text.replace("\n", " "), seed=work.seed(part), **options)
    work.write(content, name, part=fitting(content, ".wav"))
    seconds = sounds.decode(work.studio.path(name).read_bytes()).seconds
    return [name], {**by(content), "length": round(seconds, 3)}
