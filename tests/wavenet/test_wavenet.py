"""WaveNet: sampling with queues is the network, likelihoods are likelihoods, and a vocoder's stretches join."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miaobi.core.errors import DataError, UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Done, Media, Modality, Piece, Record, Request
from miaobi.data.sounds import Sound, decode, encode
from miaobi.models.common.mel import with_context
from miaobi.models.wavenet import mulaw
from miaobi.models.wavenet.sampler import BLOCK, Sampler, drawn_code, drawn_sample
from miaobi.models.wavenet.schema import Config, Options
from miaobi.models.wavenet.speak import vocoded

torch = pytest.importorskip("torch")
RATE = 4000
MEL = {"bands": 12, "window": 200, "hop": 50, "low": 50}
SMALL = {"rate": RATE, "width": 8, "skip": 12, "depth": 4, "stacks": 2, "condition_width": 8, "crop": 400, "mel": MEL}


def hum(pitch: float, seconds: float = 0.5, *, loudness: float = 0.5) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    return (loudness * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def record(name: str, samples: NDArray[np.float32], **meta: Any) -> Record:
    return Record(id=name, parts=(Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(Sound(samples, RATE))),), meta=meta)


RECORDS = [record(f"{pitch}", hum(pitch), **{"class": "low" if pitch < 300 else "high"}) for pitch in (150, 200, 600, 700)]


def model(**changes: Any) -> Any:
    from miaobi.models.wavenet.model import WaveNet

    made = WaveNet.create({**SMALL, **changes}, RECORDS, seed=3)
    with torch.no_grad():
        for parameter in made.network.parameters():  # larger weights, so that what is forgotten would show
            parameter.mul_(1.5)
    return made


@pytest.mark.parametrize("output", ["mulaw", "logistics"])
@pytest.mark.parametrize("conditions", [[], ["class"], ["mel"], ["mel", "class"]])
def test_sampling_with_queues_is_the_whole_network(output: str, conditions: list[str]) -> None:
    """The network, shown what was sampled, predicts what the sampler drew from: far behind its first block and its longest dilation."""
    made = model(output=output, conditions=conditions)
    count, batch = BLOCK + 150, 2
    frames = with_context(made.codec.prepared(RECORDS[0])[1], 0, count // 50 + 2) if "mel" in conditions else None
    label = 1 if "class" in conditions else None
    steering = made.sampler.steering(frames, label)
    several = None if steering is None else np.stack([steering] * batch)
    samples = np.concatenate(list(made.sampler.run(count, np.random.default_rng(5), steering=several, batch=batch)), axis=1)
    before = np.pad(samples, ((0, 0), (1, 0)))[:, :-1].astype(np.float32)
    given = torch.from_numpy(mulaw.to_codes(before, 256) if output == "mulaw" else before)
    shown = None if frames is None else torch.from_numpy(np.stack([frames] * batch))
    with torch.no_grad():
        predicted = made.network(given, shown, None if label is None else torch.tensor([label] * batch)).numpy()
    rng = np.random.default_rng(5)
    lots = np.concatenate([rng.random((BLOCK, 2, batch)), rng.random((150, 2, batch))])
    for step in range(count):
        if output == "mulaw":
            drawn = mulaw.table(256)[drawn_code(predicted[:, step], lots[step, 0], 1.0)]
        else:
            drawn = drawn_sample(predicted[:, step], lots[step], 1.0)
        np.testing.assert_allclose(drawn, samples[:, step], atol=1e-5)
    assert samples.std() > 0.05


def test_no_sample_sees_itself_or_what_follows() -> None:
    network = model().network
    given = torch.randint(0, 256, (1, 200))
    changed = given.clone()
    changed[0, 120:] = (changed[0, 120:] + 7) % 256
    with torch.no_grad():
        first, second = network(given), network(changed)
    assert torch.equal(first[:, :120], second[:, :120])
    assert not torch.equal(first[:, 120], second[:, 120])


@pytest.mark.parametrize("levels", [64, 256])
def test_codes_stand_for_their_samples(levels: int) -> None:
    table = mulaw.table(levels)
    np.testing.assert_array_equal(mulaw.to_codes(table, levels), np.arange(levels))
    assert (table[0], table[-1]) == (-1, 1)
    samples = np.linspace(-1, 1, 999, dtype=np.float32)
    errors = np.abs(table[mulaw.to_codes(samples, levels)] - samples)
    assert errors[499] < errors[0:10].max(), "quiet samples are kept more exactly"
    assert errors.max() < 8 / levels


def test_emphasis_is_undone() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 1000).astype(np.float32)
    np.testing.assert_allclose(mulaw.restored(mulaw.emphasised(samples, 0.9), 0.9), samples, atol=1e-5)
    assert mulaw.restored(samples, 0.0) is samples


def test_the_probabilities_of_all_16_bit_samples_sum_to_one() -> None:
    from miaobi.models.wavenet.likelihood import STEPS, nats_of_samples

    steps = torch.linspace(-1, 1, STEPS + 1, dtype=torch.float64)
    parameters = torch.tensor([0.3, -0.2, -0.4, 0.5, -3.0, -5.0])  # two distributions: weights, means, log scales
    nats = nats_of_samples(parameters.expand(1, len(steps), -1), steps[None].float())
    assert math.isclose(float(torch.exp(-nats.double()).sum()), 1.0, rel_tol=2e-3)


def test_scores_are_the_loss_over_the_whole_sound() -> None:
    made = model(conditions=["mel"])
    [score] = made.score(RECORDS[:1])
    assert score.dimensions == 2000
    with torch.no_grad():
        loss = made.loss(made.codec.whole(RECORDS[0]), "main")
    assert loss.count == 2000
    assert score.bits == pytest.approx(float(loss.total) / math.log(2), rel=1e-5)


def test_a_short_sound_ends_where_it_ends() -> None:
    batch = model().codec.collate([record("short", hum(300, 0.05))])
    assert int(batch["there"].sum()) == 200
    assert batch["wanted"].shape == (1, 400)


def test_a_crop_is_steered_by_the_frames_around_it() -> None:
    """The frames of a stretch are those that the whole sound has at that place."""
    made = model(conditions=["mel"])
    batch = made.codec.collate(RECORDS[:1], rng=np.random.default_rng(1))
    frames = made.codec.prepared(RECORDS[0])[1]
    shown = batch["frames"][0].numpy()
    starts = [start for start in range(len(frames)) if np.array_equal(with_context(frames, start, start + 9), shown)]
    assert starts
    codes = mulaw.to_codes(made.codec.prepared(RECORDS[0])[0], 256)
    assert any(np.array_equal(codes[50 * start : 50 * start + 400], batch["wanted"][0].numpy()) for start in starts)


def test_stretches_side_by_side_are_as_long_as_one() -> None:
    made = model(conditions=["mel"])
    frames = made.config.mel.of(hum(250, 1.2), RATE)
    whole, parts = (list(vocoded(made.sampler, frames, np.random.default_rng(0), stretches=stretches))[-1] for stretches in (1, 4))
    assert len(whole) == len(parts) == (len(frames) - 1) * 50
    assert np.isfinite(parts).all()
    assert np.abs(parts).max() <= 1


def test_a_trained_vocoder_follows_the_pitch() -> None:
    """After a few steps on hums of three pitches, each comes back from its spectrogram with its pitch and not another."""
    from miaobi.models.wavenet.model import WaveNet

    torch.manual_seed(0)
    torch.set_num_threads(1)
    pitches = (200, 450, 800)
    learned = [record(f"{pitch} {loudness}", hum(pitch, 0.3, loudness=loudness)) for pitch in pitches for loudness in (0.3, 0.7)]
    made = WaveNet.create({**SMALL, "conditions": ["mel"], "width": 16, "skip": 24, "depth": 6, "stacks": 1}, learned, seed=1)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(60):
        loss = made.loss(made.codec.collate(learned, rng=rng), "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    for pitch in pitches:
        given = Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(Sound(hum(pitch, 0.4), RATE)), name="sound")
        [piece] = [chunk for chunk in generated(made, Request.of(("", given), seed=1, temperature=0.5)) if isinstance(chunk, Piece)]
        assert isinstance(piece.part, Media)
        found = decode(piece.part.data).samples[400:, 0]
        spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
        assert abs(spectrum.argmax() * RATE / len(found) - pitch) < 40


def generated(made: Any, request: Request) -> list[Any]:
    options = validate(Options, request.options, "options").model_dump(mode="json")
    return list(made.generate(Request(turns=request.turns, options=options, seed=request.seed)))


def test_class_and_length_are_as_asked() -> None:
    made = model(conditions=["class"])
    chunks = generated(made, Request.of("high", seconds=0.2, n=2, seed=4))
    media = [chunk.part for chunk in chunks if isinstance(chunk, Piece)]
    assert [decode(part.data).seconds for part in media] == [0.2, 0.2]
    assert media[0].data != media[1].data
    assert [dict(chunk.notes) for chunk in chunks if isinstance(chunk, Done)] == [{"class": "high"}] * 2
    [alone] = [chunk.part for chunk in generated(made, Request.of("high", seconds=0.2, n=1, seed=4)) if isinstance(chunk, Piece)]
    assert alone.data == media[0].data, "content 0 is the same whatever n is"


def test_bad_requests_are_explained() -> None:
    sound = RECORDS[0].parts[0]
    with pytest.raises(UsageError, match="Did you mean 'high'"):
        generated(model(conditions=["class"]), Request.of("hihg"))
    with pytest.raises(UsageError, match="give it a sound"):
        generated(model(conditions=["mel"]), Request.of(""))
    with pytest.raises(UsageError, match="takes none"):
        generated(model(), Request.of(("", sound)))
    with pytest.raises(UsageError, match="leave the prompt empty"):
        generated(model(), Request.of("a bell"))
    broken = Media(modality=Modality.AUDIO, mime="audio/wav", data=b"RIFF nothing", name="sound")
    with pytest.raises(DataError):
        generated(model(conditions=["mel"]), Request.of(("", broken)))


def test_bad_configurations_are_explained() -> None:
    with pytest.raises(UsageError, match="crop 410 is not a multiple of the hop 50"):
        validate(Config, {**SMALL, "conditions": ["mel"], "crop": 410}, "config")
    with pytest.raises(DataError, match="no record has a kind"):
        model(conditions=["class"], field="kind")
    with pytest.raises(UsageError, match="do not lie within"):
        model(conditions=["mel"], mel={**MEL, "high": 3000}).codec.collate(RECORDS)


def test_cancelling_stops_at_the_next_block() -> None:
    made = model()
    chunks = made.generate(Request.of("", **Options(seconds=60.0).model_dump(mode="json")))
    next(chunks)
    chunks.close()
    assert next(chunks, None) is None


def test_the_sampler_needs_only_arrays() -> None:
    """What the runtime reads from the file is what the learner hands over."""
    made = model(conditions=["mel"])
    assert isinstance(made.sampler, Sampler)
    assert {name for name, _ in made.network.named_parameters()} == set(made.sampler._weights)
