"""Contents are kept once, found by words, judged, linked with what they were made from, and forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from miaobi.core.errors import ArtifactError, DataError, MiaobiError, UsageError
from miaobi.core.types import Media, Modality
from miaobi.library import words
from miaobi.library.store import Library, Query
from miaobi.trust import label as labels

from .conftest import Make, picture


def test_kept_once_and_got_back(library: Library, make: Make, red: Media) -> None:
    content = make("海上生明月", red)
    first = library.keep(content, origin="cli", tags=["moon"])
    assert library.keep(content, origin="api", tags=["moon", "sea"]) == first
    assert library.count() == 1
    kept = library.get(first[:6])
    assert (kept.id, kept.origin, kept.tags, kept.texts) == (first, "cli", ("moon", "sea"), ("海上生明月",))
    assert kept.label == content.label
    assert kept.modality is Modality.IMAGE
    part = library.part(kept.media[0])
    assert part == content.parts[1]
    assert library.content(first) == content


WORDS = {
    "明月": {"moon", "both"},
    "明 月": {"moon", "both", "apart"},  # two words, wherever they are
    "月明": {"apart"},  # a mark between does not part what stands together: few type the commas of a poem
    "海上生明月": {"moon"},
    "APPLE": {"apple", "both"},
    "明月 apple": {"both"},
    "appl": set(),
    "café": {"apple"},
    '"apple" OR': {"apple"},  # no syntax: quotes and operators are letters like others
    "長江": {"apart"},  # traditional characters find simplified ones
    "秋夜": {"asked"},  # the prompt is searched as well
}


def test_found_by_words(library: Library, make: Make) -> None:
    texts = {"moon": "海上生明月", "apple": "A red apple or Cafe", "both": "明月 and an apple", "apart": "长江之月。明日", "asked": "无题"}
    ids = {library.keep(make(text, prompt="秋夜" if name == "asked" else "")): name for name, text in texts.items()}
    found = {query: {ids[kept.id] for kept in library.find(Query(text=query))} for query in WORDS}
    assert found == WORDS


def test_found_by_what_people_said(library: Library, make: Make) -> None:
    one, two = library.keep(make("明月")), library.keep(make("清风"))
    library.edit(two, "清风徐来")
    library.edit(two, "清风不来")
    library.comment(one, "皎洁如霜")
    found = {query: [kept.id for kept in library.find(Query(text=query))] for query in ("不来", "徐来", "清风", "如霜", "明月")}
    assert found == {"不来": [two], "徐来": [], "清风": [two], "如霜": [one], "明月": [one]}


def test_an_older_library_learns_to_find_what_people_said(library: Library, make: Make) -> None:
    id = library.keep(make("清风"))
    library.edit(id, "清风徐来")
    library.comment(id, "皎洁如霜")
    with library.database.engine.begin() as connection:  # as version 4 left it
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0004'"))
    with library.database.writing() as session:
        words.index(session, 1, "写一首诗\n清风")
    assert library.find(Query(text="徐来")) == []
    library.database._upgrade()
    assert [kept.id for query in ("徐来", "如霜", "清风") for kept in library.find(Query(text=query))] == [id] * 3


def test_narrowed_and_paged(library: Library, make: Make, red: Media) -> None:
    texts = [library.keep(make(f"poem {number}")) for number in range(5)]
    shown = library.keep(make(red, model="painter"), tags=["draft"])
    assert [kept.id for kept in library.find(limit=2)] == [shown, texts[4]]
    assert [kept.id for kept in library.find(limit=2, offset=4)] == [texts[1], texts[0]]
    assert [kept.id for kept in library.each(page=2)] == [*texts, shown]
    assert [kept.id for kept in library.find(Query(modality="image"))] == [shown]
    assert [kept.id for kept in library.find(Query(model="painter"))] == [shown]
    assert [kept.id for kept in library.find(Query(tag="draft"))] == [shown]
    assert library.count(Query(since="2000")) == 6
    assert library.count(Query(until="2000")) == 0
    with pytest.raises(UsageError, match="holds nothing that can be searched for"):
        library.find(Query(text="。，!"))


def test_judged(library: Library, make: Make) -> None:
    one, two = library.keep(make("one")), library.keep(make("two"))
    other = library.keep(make("three", prompt="something else"))
    for value, by in ((1, "li"), (5, "li"), (3, "ann")):
        library.rate(one, value, by=by)
    assert library.get(one).rating == 4.0  # of li only the last word counts
    assert [kept.id for kept in library.find(Query(at_least=4))] == [one]
    assert library.find(Query(at_least=4.1)) == []
    library.comment(two, "too short", by="ann")
    library.edit(two, "two, longer")
    library.choose(one, two)
    kept = library.get(two)
    assert [said.value for said in (*kept.comments, *kept.edits)] == ["too short", "two, longer"]
    assert kept.text == "two"
    for wrong in (0, 6, True, 2.5):
        with pytest.raises(UsageError, match="a whole number from 1 to 5"):
            library.rate(one, wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="answer different prompts"):
        library.choose(one, other)
    with pytest.raises(UsageError, match="over itself"):
        library.choose(one, one[:8])
    with pytest.raises(UsageError, match="the same as before"):
        library.edit(two, "two, longer")
    with pytest.raises(UsageError, match="a comment cannot be empty"):
        library.comment(one, "  ")
    library.tag(one, ["a", "b"])
    library.tag(one, ["c"], remove=["a"])
    assert library.get(one).tags == ("b", "c")


def test_parents_and_children_in_any_order(library: Library, make: Make, red: Media) -> None:
    original = make(red, model="painter")
    given = original.parts[0]
    assert isinstance(given, Media)
    changed = make(picture((0, 255, 0)), given=Media(modality=given.modality, mime=given.mime, data=given.data, name="image"))
    child = library.keep(changed)
    assert library.get(child).parents == ()
    parent = library.keep(original)
    assert library.get(child).parents == (parent,)
    assert library.get(parent).children == (child,)
    poem = library.keep(make("明月"))
    song = library.keep(make("la la"), parents=[poem])
    assert library.get(song).parents == (poem,)
    assert library.get(poem).children == (song,)


def test_forgotten(library: Library, make: Make, red: Media) -> None:
    shared = [library.keep(make(red)) for _ in range(2)]
    rated = library.keep(make("rated"))
    library.rate(rated, 5)
    file = library.files.path(library.get(shared[0]).media[0].sha256)
    assert library.remove(shared[0]) == shared[0]
    assert library.find(Query(text="诗")) != []
    with pytest.raises(UsageError, match="has no content"):
        library.get(shared[0])
    assert library.prune(0) == (1, 0, 0)  # the other picture; its young file stays a day
    assert [kept.id for kept in library.find()] == [rated]
    os.utime(file, (0, 0))
    assert library.prune(0)[:2] == (0, 1)
    assert not file.exists()
    assert library.prune(0, also_judged=True)[0] == 1
    assert library.count() == 0
    assert library.find(Query(text="rated")) == []  # its terms are gone too


def test_a_lost_or_damaged_file_is_said(library: Library, make: Make, red: Media) -> None:
    stored = library.get(library.keep(make(red))).media[0]
    path = library.files.path(stored.sha256)
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="is damaged"):
        library.part(stored)
    path.unlink()
    with pytest.raises(DataError, match="has lost the file"):
        library.part(stored)


def test_an_id_that_is_not_one(library: Library, make: Make) -> None:
    library.keep(make("one"))
    for wrong in ("", "zzzz", "ab", "../..", "%%%%", "____"):
        with pytest.raises(UsageError, match="has no content"):
            library.get(wrong)


def test_threads_keep_at_once(library: Library, make: Make) -> None:
    contents = [make(f"text {number}") for number in range(24)]
    failed: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for content in contents[part::3]:
                library.keep(content)
                library.keep(contents[0])  # all of them at once
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert library.count() == len(contents)


KILLED = """
import os, sys
from pathlib import Path
from miaobi.library.store import Library
from miaobi.core.types import Content
from miaobi.trust import label as labels
library = Library.open(Path(sys.argv[1]))
label = labels.read(Path(sys.argv[2]))
content = Content(parts=(labels.read_text(Path(sys.argv[2])).text,), label=label)
before = library.files.put
from sqlalchemy import event
if sys.argv[3] == "in":
    event.listen(library.database.engine, "after_cursor_execute", lambda *a: os.kill(os.getpid(), 9) if "INTO terms" in a[2] else None)
library.keep(content)
os.kill(os.getpid(), 9)
"""


def test_what_a_database_cannot_hold_is_the_mistake_of_who_asks(library: Library, make: Make) -> None:
    content = make("a\0b")
    if library.database.dialect == "sqlite":
        assert library.get(library.keep(content)).text == "a\0b"
        return
    with pytest.raises(UsageError, match=r"U\+0000"):
        library.keep(content)
    assert library.count() == 0


@pytest.mark.parametrize("moment", ["in", "after"])
def test_kill_in_the_middle(tmp_path: Path, make: Make, moment: str) -> None:
    """Killed inside the transaction, nothing is there; killed after it, all of it is."""
    content = make("明月")
    labels.write(content, tmp_path / "poem.md")
    Library.open(tmp_path / "library").close()
    code = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "library", tmp_path / "poem.md", moment], check=False).returncode
    assert code == -9
    library = Library.open(tmp_path / "library")
    assert library.count() == (moment == "after")
    library.keep(content)
    assert [kept.text for kept in library.find(Query(text="明月"))] == ["明月"]


def test_what_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "library.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(MiaobiError, match="cannot be used"):
        Library.open(tmp_path)
    with pytest.raises(UsageError, match="not by 'mysql'"):
        Library.open("mysql://localhost/x")
    with pytest.raises(UsageError, match="is no database address"):
        Library.open("://")
    with pytest.raises(MiaobiError, match="cannot be used") as error:
        Library.open("postgresql://someone:secret@127.0.0.1:9/none")
    assert "secret" not in str(error.value)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "诗 100%? #1"
    Library.open(folder).close()
    assert {path.name for path in folder.iterdir()} >= {"library.db"}
    if Path("/proc/self").is_dir():
        with pytest.raises(MiaobiError, match="cannot be written"):
            Library.open("/proc/library")


def test_a_file_that_comes_again_is_not_swept(tmp_path: Path, make: Make, red: Media) -> None:
    library = Library.open(tmp_path)
    stored = library.get(library.keep(make(red))).media[0]
    path = library.files.path(stored.sha256)
    os.utime(path, (1, 1))
    library.files.put(path.read_bytes())  # somebody is just keeping it: the row comes later
    assert library.files.sweep(()) == (0, 0)


def test_a_newer_library_is_refused(tmp_path: Path) -> None:
    import sqlite3

    Library.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "library.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ArtifactError, match="newer miaobi"):
        Library.open(tmp_path)


def test_migrations_make_the_tables_that_the_code_knows(library: Library) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from miaobi.library import database
    from miaobi.library.tables import Base

    assert ScriptDirectory(str(database.SCRIPTS)).get_current_head() == database.HEAD
    with library.database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [change for change in found if "terms" not in str(change)] == []
