"""Captions as rows of known features, and the encoder in torch and in NumPy."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from miaobi.models.common.text_units import FEATURES, UNITS, Vocabulary, encode, key, units


def test_scripts_cases_and_accents_are_one() -> None:
    assert units("一隻戴紅帽子的貓") == units("一只戴红帽子的猫")
    assert units("Café ＣＡＴ") == units("cafe cat")
    assert units("红帽 cats") == [["红", "红帽"], ["帽"], ["<cats>", "<ca", "cat", "ats", "ts>"]]
    assert units("!? …") == []


def test_a_hash_is_stable() -> None:
    """It is stored with the weights, so it may never change."""
    assert key("猫") == 2022857031604189724
    assert key("<cat>") != key("cat")


def test_unknown_words_are_left_out_and_parts_are_known() -> None:
    vocabulary = Vocabulary.fit(["red cat", "red cat", "红猫", "红猫", "rare"], size=100)
    assert vocabulary.rows(["rare"]).any() == 0  # it occurred once
    assert vocabulary.rows(["zzz"]).shape == (1, 1, FEATURES)
    known = vocabulary.rows(["cats"])
    assert (known > 0).sum() == 2, "of <cats> only <ca and cat are known"
    assert vocabulary.rows(["红"]).any()
    assert np.array_equal(pickle.loads(pickle.dumps(vocabulary)).rows(["red 红猫"]), vocabulary.rows(["red 红猫"]))


def test_long_texts_are_cut_and_sizes_are_kept() -> None:
    vocabulary = Vocabulary.fit(["cat dog"] * 2, size=3)
    assert len(vocabulary.keys) == 3
    assert (np.diff(vocabulary.keys) > 0).all()
    vocabulary = Vocabulary.fit(["cat dog"] * 2, size=100)
    assert vocabulary.rows(["cat dog " * 100, ""]).shape == (2, UNITS, FEATURES)


def test_numpy_encodes_as_torch() -> None:
    torch = pytest.importorskip("torch")
    from miaobi.models.common.text_condition import TextEncoder

    vocabulary = Vocabulary.fit(["红猫 red cat", "蓝狗 blue dog"] * 2, size=100)
    network = TextEncoder(len(vocabulary.keys), 32, 24, layers=2, heads=4, tokens=3)
    network.initialise(torch.Generator().manual_seed(0))
    rows = vocabulary.rows(["红猫", "", "a blue dog and a red cat"])
    vector, tokens = network.eval()(torch.from_numpy(rows))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    own_vector, own_tokens = encode(weights, rows, heads=4, layers=2)
    assert own_tokens.shape == (3, 3, 24)
    np.testing.assert_allclose(own_vector, vector.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(own_tokens, tokens.detach().numpy(), atol=1e-5)
    padded = np.concatenate([rows, np.zeros((3, 5, FEATURES), dtype=np.int64)], axis=1)
    np.testing.assert_allclose(encode(weights, padded, heads=4, layers=2)[0], own_vector, atol=1e-5)


def test_a_tie_wants_translations_alike_and_other_things_apart() -> None:
    torch = pytest.importorskip("torch")
    from miaobi.models.common.text_condition import tie

    apart = torch.eye(4)
    concepts = torch.arange(4)
    assert tie(apart, apart, concepts) < 0.01
    assert tie(apart, apart.roll(1, 0), concepts) > 10
    twice = torch.eye(4)[[0, 0, 1, 2]]
    same = torch.tensor([0, 0, 1, 2])
    assert tie(twice, twice, same) < tie(twice, twice, concepts) + 1e-6, "one thing in two styles is no contradiction"
