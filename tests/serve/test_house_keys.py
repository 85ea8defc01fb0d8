"""Keys and limits: shown once, kept as hashes, gone at once when removed; buckets that fill up again."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from miaobi.cli.main import main
from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.serve.http.keys import EVERYTHING, VARIABLE, Caller, Keys
from miaobi.serve.http.limits import MOST_CALLERS, Limits


def test_a_key_is_kept_as_a_hash_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, secret = Keys(path).add("me", scopes=["text"], requests_per_minute=3)
    assert secret not in path.read_text(encoding="utf-8")
    assert secret[-20:] not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in repr(key)
    assert key.sha256 not in repr(key)
    assert "sha256" not in key.as_dict()
    caller = Keys(path).caller(f"Bearer {secret}")
    assert caller == Caller(id=key.id, scopes=frozenset({"text"}), requests_per_minute=3)


def test_only_the_whole_key_opens(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    _, secret = keys.add()
    other = ("A" if secret[-1] != "A" else "B") + secret[-1:0]
    wrong = ["", secret[:-1], secret + "x", secret[:-1] + other, secret.upper(), " ", "sk-miaobi-", secret.replace("sk-", "")]
    for text in wrong:
        assert keys.caller(f"Bearer {text}") is None
    assert keys.caller(secret) is None
    assert keys.caller(f"Token {secret}") is None
    assert keys.caller("Bearer \udcff") is None
    assert keys.caller(f"bearer {secret}") is not None


def test_a_browser_sends_the_key_as_a_password(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    key, secret = keys.add()
    basic = base64.b64encode(f"anybody:{secret}".encode()).decode()
    found = keys.caller(f"Basic {basic}")
    assert found is not None
    assert found.id == key.id
    assert keys.caller("Basic !!!") is None
    assert keys.caller("Basic " + base64.b64encode(b"\xff\xfe").decode()) is None


def test_a_removed_key_opens_nothing_in_a_server_that_runs(tmp_path: Path) -> None:
    running, person = Keys(tmp_path / "keys.json"), Keys(tmp_path / "keys.json")
    assert not running
    first, secret = person.add("one")
    person.add("two")
    assert running
    assert running.caller(f"Bearer {secret}") is not None
    person.remove("one")
    assert running.caller(f"Bearer {secret}") is None
    assert [key.name for key in running.all()] == ["two"]
    with pytest.raises(UsageError, match="unknown API key"):
        person.remove(first.id)


def test_two_keys_of_one_name_are_removed_by_id(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    first, _ = keys.add("same")
    keys.add("same")
    with pytest.raises(UsageError, match="2 keys"):
        keys.remove("same")
    keys.remove(first.id)
    assert len(keys.all()) == 1


def test_a_key_expires(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    _, secret = keys.add("short", days=1)
    assert keys.caller(f"Bearer {secret}") is not None
    values = json.loads(keys.path.read_text(encoding="utf-8"))
    values["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    keys.path.write_text(json.dumps(values), encoding="utf-8")
    assert keys.caller(f"Bearer {secret}") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "keys": []}', '{"format": 1, "keys": [{}]}', "[" * 100_000])
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        Keys(path).all()
    with pytest.raises(DataError):
        bool(Keys(path))


def test_the_environment_holds_a_key_for_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "a-long-and-secret-key")
    keys = Keys(tmp_path / "keys.json")
    assert keys
    assert keys.caller("Bearer a-long-and-secret-key") == Caller(id="environment", scopes=EVERYTHING)
    assert keys.caller("Bearer a-long-and-secret-kez") is None
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(UsageError, match="16"):
        Keys(tmp_path / "keys.json")


def test_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'text'"):
        Keys(tmp_path / "keys.json").add(scopes=["texts"])


def test_the_command_line_makes_lists_and_removes_keys(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "keys", "add", "mine", "--scope", "text", "--requests", "9", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["key"].startswith("sk-miaobi-")
    assert (made["name"], made["scopes"], made["requests_per_minute"]) == ("mine", ["text"], 9)
    assert main(["serve", "keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert made["id"] in listed
    assert made["key"] not in listed
    assert main(["serve", "keys", "remove", "mine", "--quiet"]) == 0
    assert not Keys().all()
    assert main(["serve", "keys", "remove", "mine", "--quiet"]) == 2
    assert main(["serve", "keys", "add"]) == 2
    assert main(["serve", "somewhere"]) == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_a_minute_come_back_with_time() -> None:
    clock = Clock()
    limits, caller = Limits(60, clock=clock), Caller(id="a", requests_per_minute=2)
    for left in ("1", "0"):
        with limits.admit(caller) as headers:
            assert headers == {"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": left}
    with pytest.raises(MiaobiError) as refused, limits.admit(caller):
        pass
    assert refused.value.status == 429  # type: ignore[attr-defined]
    assert refused.value.retry_after == pytest.approx(30)  # type: ignore[attr-defined]
    clock.now = 30.1
    with limits.admit(caller):
        pass
    with limits.admit(Caller(id="b")) as headers:  # another one's bucket, of the server's size
        assert headers["x-ratelimit-limit-requests"] == "60"


def test_tokens_are_owed_and_lock_out_until_they_are_paid() -> None:
    clock = Clock()
    limits, caller = Limits(clock=clock), Caller(id="a", tokens_per_minute=60)
    with limits.admit(caller):
        limits.spend(caller, 90)
    with pytest.raises(MiaobiError), limits.admit(caller):
        pass
    clock.now = 29.9
    with pytest.raises(MiaobiError), limits.admit(caller):
        pass
    clock.now = 31
    with limits.admit(caller):
        pass


def test_requests_at_once_are_counted_down_again() -> None:
    limits, caller = Limits(), Caller(id="a", concurrent=1)
    with limits.admit(caller):
        with pytest.raises(MiaobiError, match="under way"), limits.admit(caller):
            pass
        with limits.admit(Caller(id="b", concurrent=1)):
            pass
    with limits.admit(caller):
        pass


def test_callers_are_forgotten_but_not_those_at_work() -> None:
    limits = Limits(1)
    with limits.admit(Caller(id="at work")):
        for number in range(MOST_CALLERS + 50):
            with limits.admit(Caller(id=str(number))):
                pass
        assert len(limits._accounts) <= MOST_CALLERS + 1
        with pytest.raises(MiaobiError), limits.admit(Caller(id="at work")):
            pass
