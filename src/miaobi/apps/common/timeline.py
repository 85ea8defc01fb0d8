"""A film as it is written down: scenes one after the other, what is heard under them, and how words are shown.

    version: 1
    size: portrait
    scenes:
      - card: 中秋月夜
      - picture: moon.png
        move: zoom-in
        transition: dissolve
        narration: 海上生明月，天涯共此时。
    music: {file: tune.mid, volume: -4}

What is wanted most is written as one word or one line (`move: zoom-in`), which stands for a mapping with the other keys at their defaults
(`move: {kind: zoom-in, amount: 0.15}`). Files are looked for beside the timeline. Whatever a model can make may be made while the film is
rendered: `picture: {model: painter, prompt: 一轮明月, seed: 3}`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.data.pictures import colour as known_colour

SIZES = {"landscape": (1280, 720), "portrait": (720, 1280), "square": (720, 720)}
LONGEST = 3600.0  # seconds of one scene
Where = Literal["top", "middle", "bottom"]
Side = Literal["left", "right", "up", "down"]


def _short(key: str) -> BeforeValidator:
    """A bare value stands for a mapping with this key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value)


def _known(value: str) -> str:
    """A colour that there is; empty where it may be left out."""
    try:
        return value and "#{:02x}{:02x}{:02x}".format(*known_colour(value))
    except UsageError as error:
        raise ValueError(str(error)) from None


def _size(value: Any) -> Any:
    """The width and height behind a name."""
    if isinstance(value, str) and value not in SIZES:
        raise ValueError(tr("one of {names} is wanted, or [width, height]", names=", ".join(SIZES)))
    return SIZES[value] if isinstance(value, str) else value


Colour = Annotated[str, AfterValidator(_known)]


class Thing(Schema):
    """A file, or what a model makes when the film is rendered."""

    file: str = ""
    """A path, from the timeline's folder."""
    model: str = ""
    """A model by name or folder, in place of a file."""
    prompt: str = ""
    """What the model is asked."""
    seed: int = Field(0, ge=0)
    """The same seed makes the same thing."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The model's own options."""

    @model_validator(mode="after")
    def _one(self) -> Thing:
        if bool(self.file) == bool(self.model or self.usual_model()):
            raise ValueError(tr("one of `file` and `model` is wanted"))
        if self.file and (self.prompt or self.options or self.seed):
            raise ValueError(tr("`prompt`, `seed` and `options` go with `model`, not with `file`"))
        return self

    def usual_model(self) -> str:
        """The model that is meant when none is named."""
        return ""


class Card(Schema):
    """Words that fill a scene."""

    text: str = Field(min_length=1)
    """The words; each line is a line of the card."""
    title: str = ""
    """Larger words above them."""
    size: float = Field(0.075, gt=0.01, le=0.5)
    """Height of the letters as a share of the frame's shorter side; smaller when the words would not fit."""
    writing: Literal["horizontal", "vertical"] = "horizontal"
    """`vertical` writes columns from right to left."""
    colour: Colour = "#ffffff"
    """Of the letters."""
    reveal: Literal["at-once", "by-line"] = "at-once"
    """`by-line` lets one line after the other appear."""


class Move(Schema):
    """How the camera goes over a picture or a clip (named after Ken Burns)."""

    kind: Literal["still", "zoom-in", "zoom-out", "pan-left", "pan-right", "pan-up", "pan-down"] = "still"
    """Where to."""
    amount: float = Field(0.15, gt=0, le=1)
    """How far, as a share of the frame."""
    focus: tuple[float, float] = (0.5, 0.5)
    """The point that a zoom goes to, from the left and from the top, in shares of the frame."""

    @field_validator("focus")
    @classmethod
    def _inside(cls, focus: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= share <= 1 for share in focus):
            raise ValueError(tr("both numbers lie between 0 and 1"))
        return focus


class Transition(Schema):
    """How one scene becomes the next."""

    kind: Literal["cut", "fade", "dissolve", "wipe", "slide"] = "cut"
    """`fade` goes through the background's colour, `dissolve` lays one scene over the other, `wipe` and `slide` come from a side."""
    seconds: float = Field(0.8, gt=0, le=10)
    """For so long both scenes are seen; a cut takes no time."""
    towards: Side = "left"
    """Where a wipe or a slide goes."""


class Narration(Thing):
    """A voice: the words that `narrator` (or another model) reads, or a recording."""

    text: str = ""
    """What is read; it becomes the subtitles."""
    voice: str = ""
    """A voice of the model; its own choice when empty."""
    speed: float = Field(1.0, ge=0.5, le=2)
    """1.2 is a fifth faster."""
    at: float = Field(0.3, ge=0, le=LONGEST)
    """Seconds after the start of its scene (of the film, in `voices`)."""
    volume: float = Field(0, ge=-60, le=20)
    """Decibels, over the loudness that voices are brought to."""
    subtitle: str | None = None
    """Other words to show than `text`; empty for none."""

    def usual_model(self) -> str:
        """See `Thing`."""
        return "narrator" if self.text and not self.file else ""

    @property
    def words(self) -> str:
        """What is shown."""
        return self.text if self.subtitle is None else self.subtitle


class Music(Thing):
    """What plays under the whole film."""

    volume: float = Field(0, ge=-60, le=20)
    """Decibels, over the loudness that music is brought to: 8 LU below the voices."""
    duck: float = Field(10, ge=0, le=60)
    """So many decibels quieter while somebody speaks."""
    fade_in: float = Field(1.0, ge=0, le=60)
    """Seconds."""
    fade_out: float = Field(2.0, ge=0, le=60)
    """Seconds, before the film's end."""
    repeat: bool = True
    """From the start again when the film is longer; else silence."""


class Effect(Thing):
    """A sound at a moment: a file, or one of the family `effects`."""

    effect: str = ""
    """What is heard, for the model `effects`: rain, 雷 …; in place of a file."""
    seconds: float | None = Field(None, gt=0, le=LONGEST)
    """For how long; by default for the rest of its scene when a model makes it, else as long as the file."""
    at: float = Field(0, ge=0, le=LONGEST)
    """Seconds after the start of its scene (of the film, in the film's own list)."""
    volume: float = Field(0, ge=-60, le=20)
    """Decibels, over the loudness that effects are brought to: 10 LU below the voices."""
    fade: float = Field(0.4, ge=0, le=30)
    """Seconds at its start and at its end."""

    def usual_model(self) -> str:
        """See `Thing`."""
        return "effects" if self.effect else ""


class Caption(Schema):
    """Words over a picture."""

    text: str = Field(min_length=1)
    """The words."""
    where: Where = "top"
    """At which height."""
    size: float = Field(0.06, gt=0.01, le=0.5)
    """Height of the letters as a share of the frame's shorter side."""
    colour: Colour = "#ffffff"
    """Of the letters."""


class Scene(Schema):
    """One picture, clip or card, or the background alone; what is said, and what is heard."""

    picture: Annotated[Thing, _short("file")] | None = None
    """A still picture."""
    clip: Annotated[Thing, _short("file")] | None = None
    """A film or a loop."""
    card: Annotated[Card, _short("text")] | None = None
    """Words."""
    background: Colour = ""
    """The colour behind, in place of the film's."""
    seconds: float | None = Field(None, gt=0, le=LONGEST)
    """How long it is seen; by default as long as the narration takes, or else the clip, or else four seconds."""
    fit: Literal["cover", "contain", "blur"] = "cover"
    """How a picture of another shape fills the frame: cut, with margins of the background, or with margins of itself, blurred."""
    scale: float = Field(1.0, gt=0.05, le=1)
    """The share of the frame that a contained picture takes."""
    move: Annotated[Move, _short("kind")] = Move()
    """How the camera goes."""
    transition: Annotated[Transition, _short("kind")] = Transition()
    """From the scene before into this one."""
    begin: float = Field(0, ge=0)
    """Where in the clip to begin, in seconds."""
    speed: float = Field(1.0, ge=0.1, le=10)
    """How fast the clip runs."""
    repeat: bool | None = None
    """Whether a clip that is shorter than the scene begins again, or its last frame stays; by default a loop repeats, a film stays."""
    sound: bool = True
    """Whether the clip's own sound is heard (only at its own speed)."""
    volume: float = Field(0, ge=-60, le=20)
    """Decibels, for the clip's own sound."""
    caption: Annotated[Caption, _short("text")] | None = None
    """Words over the picture."""
    narration: Annotated[Narration, _short("text")] | None = None
    """What is said."""
    effects: list[Annotated[Effect, _short("effect")]] = Field(default_factory=list)
    """What is heard."""

    @model_validator(mode="after")
    def _one(self) -> Scene:
        if sum(thing is not None for thing in (self.picture, self.clip, self.card)) > 1:
            raise ValueError(tr("a scene shows one of `picture`, `clip` and `card`"))
        return self


class Cue(Schema):
    """Words shown for a while, given by hand."""

    start: float = Field(ge=0)
    """Seconds after the film's start."""
    end: float = Field(gt=0)
    """Seconds after the film's start."""
    text: str = Field(min_length=1)
    """The words."""


class Subtitles(Schema):
    """How the words that are spoken are shown."""

    burn: bool = True
    """Whether they are part of the pictures."""
    files: tuple[Literal["srt", "vtt"], ...] = ("srt", "vtt")
    """Which files are written beside the film."""
    size: float = Field(0.052, gt=0.01, le=0.2)
    """Height of the letters as a share of the frame's shorter side."""
    colour: Colour = "#ffffff"
    """Of the letters."""
    where: Where = "bottom"
    """At which height."""
    cues: list[Cue] | str = Field(default_factory=list)
    """Further words with their times, or the path of a .srt or .vtt file."""


class Mark(Schema):
    """The visible words of the law at the start of the film."""

    language: Literal["auto", "zh", "en", "none"] = "auto"
    """Of the words; `auto` is that of the film's own words, else of messages."""
    seconds: float = Field(2.5, ge=2, le=LONGEST)
    """For how long from the start; GB 45438-2025 asks for two seconds or more."""
    corner: Literal["bottom-right", "bottom-left", "top-right", "top-left"] = "top-right"
    """Where; subtitles are at the bottom."""


class Timeline(Schema):
    """A whole film."""

    version: Literal[1] = 1
    """Of this format."""
    title: str = ""
    """What the film is called; it is not shown."""
    size: Annotated[tuple[int, int], BeforeValidator(_size)] = SIZES["landscape"]
    """`landscape` is 1280 by 720, `portrait` 720 by 1280, `square` 720 by 720; or `[width, height]` in even numbers."""
    fps: float = Field(24, ge=1, le=60)
    """Frames a second."""
    quality: int | None = Field(None, ge=1, le=100)
    """Of the pictures; by default one where the loss is hardly seen."""
    background: Colour = "#000000"
    """A colour by name or as `#rrggbb`."""
    font: str = ""
    """A font's file, or the name of an installed one; by default the one that comes along."""
    scenes: list[Scene] = Field(min_length=1, max_length=2000)
    """What is seen, in order."""
    ending: Annotated[Transition, _short("kind")] = Transition(kind="fade")
    """How the last scene ends: `cut` or `fade`."""
    music: Annotated[Music, _short("file")] | None = None
    """What plays under it."""
    voices: list[Narration] = Field(default_factory=list)
    """What is said without regard to scenes; `at` counts from the film's start."""
    effects: list[Effect] = Field(default_factory=list)
    """What is heard without regard to scenes; `at` counts from the film's start."""
    subtitles: Subtitles = Subtitles()
    """How words are shown."""
    mark: Annotated[Mark, _short("language")] = Mark()
    """The visible words at the start."""
    loudness: float = Field(-16, ge=-40, le=-5)
    """Of the whole film, in LUFS."""

    @field_validator("size")
    @classmethod
    def _even(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(32 <= side <= 4096 and side % 2 == 0 for side in size):
            raise ValueError(tr("both sides are even numbers from 32 to 4096"))
        return size

    @model_validator(mode="after")
    def _endings(self) -> Timeline:
        if self.ending.kind not in ("cut", "fade"):
            raise ValueError(tr("`ending` is `cut` or `fade`, for there is no scene after the last"))
        return self
