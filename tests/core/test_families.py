"""Families are found, named and refused in words that help."""

from __future__ import annotations

import pytest

from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.families import Family, families, family
from miaobi.core.schema import Schema
from miaobi.core.types import Modality, Verb


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_LANG", "en")


def test_every_family_is_known_by_its_name() -> None:
    known = families()
    assert list(known) == sorted(known)
    for name, found in known.items():
        assert family(name) is found
        assert found.name == name
        assert found.summary
        assert Verb.GENERATE in found.verbs
        config, options = found.schemas()
        assert issubclass(config, Schema)
        assert issubclass(options, Schema)


def test_an_unknown_family_is_met_with_the_nearest() -> None:
    name = next(iter(families()))
    with pytest.raises(UsageError, match=rf"unknown family '{name}x'\. Did you mean '{name}'\? Known: "):
        family(name + "x")
    with pytest.raises(UsageError, match=r"unknown family '../../x'\. Known: "):
        family("../../x")


def test_a_missing_extra_is_named_with_the_command() -> None:
    lacking = Family(
        name="lacking",
        summary="needs what is not there",
        outputs=frozenset({Modality.TEXT}),
        verbs=frozenset({Verb.GENERATE}),
        model="json:JSONDecoder",
        schemas=lambda: (Schema, Schema),
        extra="voice",
        packages=("no_such_package_anywhere",),
    )
    with pytest.raises(MissingExtra, match=r"family 'lacking' needs the package no_such_package_anywhere.*pip install 'miaobi\[voice\]'"):
        lacking.model_class()
    assert lacking.runtime_class() is None
