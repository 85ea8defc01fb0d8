"""Stored responses: their owner's alone, given back with all that was in them, cancelled, forgotten, and never half."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from miaobi.core.types import Turn
from miaobi.library import responses as stored
from miaobi.library.responses import Answer, Gone, Responses
from miaobi.library.store import Library


def answer(id: str = "resp_1", **more: Any) -> Answer:
    """What a server keeps of one answer."""
    turns = (Turn(role="user", parts=("看图\0一问",)), Turn(role="assistant", parts=("一答",)))
    given = {"image": [b"first", b"second"], "sound": [b"third"]}
    return Answer(response={"id": id, "status": "completed", **more}, asked=[{"id": "item_1"}], turns=turns, given=given)


def test_it_comes_back_whole_to_its_owner_alone(library: Library) -> None:
    kept = Responses(library)
    wanted = answer()
    kept.add(wanted, owner="me")
    found = Responses(library).get("resp_1", owner="me")
    assert (found.response, list(found.asked), tuple(found.turns)) == (wanted.response, list(wanted.asked), tuple(wanted.turns))
    assert found.given == wanted.given
    for ask in (kept.get, kept.cancel, kept.remove):
        with pytest.raises(Gone):
            ask("resp_1", owner="you")
    assert kept.cancel("resp_1", owner="me").response["status"] == "completed", "what is over is not cancelled"
    kept.remove("resp_1", owner="me")
    with pytest.raises(Gone):
        kept.get("resp_1", owner="me")


def test_one_that_is_written_is_finished_cancelled_or_lost(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Responses(library)
    open_ = replace(answer(status="in_progress"), turns=())
    for id in ("resp_1", "resp_2", "resp_3"):
        kept.add(replace(open_, response={**open_.response, "id": id}), open=True)
    assert kept.beat("resp_1")
    kept.close(replace(open_, response={"id": "resp_1", "status": "completed"}))
    assert not kept.beat("resp_1"), "nobody writes it any more"
    assert kept.get("resp_1").response["status"] == "completed"
    assert kept.cancel("resp_2").response["status"] == "cancelled"
    kept.close(replace(open_, response={"id": "resp_2", "status": "completed"}))
    assert kept.get("resp_2").response["status"] == "cancelled", "it was cancelled before it was whole"
    assert kept.get("resp_3").response["status"] == "in_progress"
    monkeypatch.setattr(stored, "SILENT_SECONDS", -1.0)
    lost = kept.get("resp_3").response
    assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")


def test_old_ones_go_with_what_was_given_in_them(library: Library) -> None:
    kept = Responses(library)
    kept.add(replace(answer(), turns=()))
    paths = [library.files.path(file) for file in _files(library)]
    for path in paths:
        os.utime(path, (0, 0))
    assert kept.prune(1) == 0
    library.prune(1)
    assert all(path.exists() for path in paths), "what a response needs stays"
    assert kept.prune(0) == 1
    library.prune(1)
    assert not any(path.exists() for path in paths)


def _files(library: Library) -> list[str]:
    import sqlalchemy as sa

    from miaobi.library.tables import ResponseFileRow

    with library.database.reading() as session:
        return list(session.scalars(sa.select(ResponseFileRow.sha256)))
