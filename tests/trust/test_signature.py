"""Where a certificate lies, every picture, sound and film is signed last; changes, other signers and broken certificates are told."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import numpy as np
import pytest

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Content, Media, Modality, Request
from miaobi.data.pictures import encode
from miaobi.engine.generate import assembled
from miaobi.trust import label, pictures, signature
from miaobi.trust.verify import verify

pytest.importorskip("c2pa")

PICTURE = encode(np.full((24, 24, 3), 200, np.uint8))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a certificate would lie."""
    monkeypatch.setenv("MIAOBI_C2PA", str(tmp_path / "c2pa"))
    return tmp_path / "c2pa"


def picture() -> Content:
    media = Media(modality=Modality.IMAGE, mime="image/png", data=PICTURE)
    return assembled((media,), (), app="create", request=Request.of("a grey square", seed=3))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tiff"])
def test_a_picture_is_signed_in_every_format_and_a_rewritten_label_shows(tmp_path: Path, place: Path, suffix: str) -> None:
    signature.new_certificate("妙笔 studio")
    path = tmp_path / f"square{suffix}"
    label.write(picture(), path)
    verdict = verify(path)
    assert verdict.good
    assert verdict.signature == signature.Signature(valid=True, known=True, signer="妙笔 studio")
    other = dataclasses.replace(label.read(path), model="nobody")  # which no hash of pixels sees
    path.write_bytes(pictures.embed(path.read_bytes(), label.implicit(other), label.to_dict(other)))
    forged = verify(path)
    assert forged.intact
    assert not forged.good
    assert forged.signature is not None
    assert not forged.signature.valid


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a"])
def test_a_sound_is_signed(tmp_path: Path, place: Path, suffix: str) -> None:
    pytest.importorskip("av")
    from miaobi.data import sounds
    from miaobi.engine.convert import write

    signature.new_certificate("studio")
    wave = sounds.Sound(samples=np.sin(np.arange(22050, dtype=np.float32) / 9)[:, None] / 3, rate=22050)
    media = Media(modality=Modality.AUDIO, mime="audio/wav", data=sounds.encode(wave))
    path = tmp_path / f"tone{suffix}"
    write(assembled((media,), (), app="create", request=Request.of("a tone", seed=3)), path)
    verdict = verify(path)
    assert verdict.good
    assert verdict.signature is not None
    assert verdict.signature.valid


def test_without_a_certificate_nothing_is_signed(tmp_path: Path, place: Path) -> None:
    path = tmp_path / "square.png"
    label.write(picture(), path)
    assert verify(path).signature is None
    assert not signature.signs()


def test_another_s_signature_holds_but_is_not_known(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature.new_certificate("one")
    path = tmp_path / "square.png"
    label.write(picture(), path)
    monkeypatch.setenv("MIAOBI_C2PA", str(tmp_path / "elsewhere"))
    told = verify(path).signature
    assert told == signature.Signature(valid=True, known=False, signer="one")
    assert "who is not known here" in str(verify(path))


def test_a_file_that_is_written_again_has_one_signature(place: Path) -> None:
    signature.new_certificate("one")
    content = picture()
    [media] = content.parts
    assert isinstance(media, Media)
    again = label.embed(media, dataclasses.replace(content.label, mark="AI"))
    told = signature.read(again.data, "image/png")
    assert told is not None
    assert told.valid
    assert abs(len(again.data) - len(media.data)) < 100, "the former one is replaced, not kept beside it"


def test_the_key_is_for_its_owner_and_is_never_replaced(place: Path) -> None:
    signature.new_certificate("one")
    assert stat.S_IMODE((place / signature.KEY).stat().st_mode) == 0o600
    assert signature.name() == "one"
    with pytest.raises(UsageError, match="is there already"):
        signature.new_certificate("two")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
def test_a_certificate_needs_a_name(place: Path, name: str) -> None:
    with pytest.raises(UsageError, match="1 to 64 letters"):
        signature.new_certificate(name)
    assert not place.exists()


def test_half_a_certificate_and_a_wrong_key_are_told(tmp_path: Path, place: Path) -> None:
    signature.new_certificate("one")
    (place / signature.KEY).unlink()
    with pytest.raises(ArtifactError, match=r"needs both certificate\.pem and key\.pem"):
        picture()
    other = signature.new_certificate("two", into=tmp_path / "other")
    (place / signature.KEY).write_bytes((other / signature.KEY).read_bytes())
    with pytest.raises(ArtifactError, match="nothing can be signed with this certificate"):
        picture()
    (place / signature.KEY).write_text("no key", encoding="utf-8")
    with pytest.raises(ArtifactError, match="nothing can be signed with this certificate"):
        picture()
