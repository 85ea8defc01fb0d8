"""A conversation in the terminal: turns, commands, mistakes, Ctrl-C; with a small open model that says the same for the same seed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from miaobi.cli import chat
from miaobi.cli.main import main
from miaobi.core.errors import UsageError

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
Say = Callable[..., str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights over single bytes."""
    import torch

    folder = tmp_path_factory.mktemp("chat") / "parrot"
    folder.mkdir()
    marks = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate([*marks, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|end|>"}))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 512}
    config = transformers.LlamaConfig(vocab_size=tokenizer.get_vocab_size(), eos_token_id=0, bos_token_id=0, **shape)
    network = transformers.LlamaForCausalLM(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def say(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """Types lines at a pipe; returns what came out, errors behind it."""
    monkeypatch.chdir(tmp_path)

    def typed(*lines: str, options: tuple[str, ...] = (), code: int = 0) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
        assert main(["chat", str(model), "--seed", "1", "--max-tokens", "6", "--lang", "en", *options]) == code
        out, err = capsys.readouterr()
        return out + err

    return typed


def messages(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["messages"]
    return found


def test_a_talk_is_kept_with_its_labels(say: Say, tmp_path: Path) -> None:
    out = say("Hello", "And you?", "/save talk.json", options=("--system", "Be kind."))
    found = messages(tmp_path / "talk.json")
    assert [message["role"] for message in found] == ["system", "user", "assistant", "user", "assistant"]
    assert [message["content"] for message in found if message["role"] == "user"] == ["Hello", "And you?"]
    for message in found:
        if message["role"] == "assistant":
            assert message["content"] in out
            assert message["label"]["family"] == "hf_transformers"
            assert message["aigc"]["AIGC"]["Label"] == "1" if "AIGC" in message["aigc"] else message["aigc"]["Label"] == "1"
    assert "AI-generated" in out


def test_what_was_said_before_is_read(say: Say, tmp_path: Path) -> None:
    say("Hello", "Why?", "/save a.json")
    say("Hi", "Why?", "/save b.json")
    first, second = messages(tmp_path / "a.json"), messages(tmp_path / "b.json")
    assert first[-1]["content"] != second[-1]["content"], "the same last question after another beginning"
    say("Hello", "Why?", "/save c.json")
    assert messages(tmp_path / "c.json")[-1]["content"] == first[-1]["content"], "the same seed says the same"


def test_commands(say: Say, tmp_path: Path) -> None:
    say("Hello", "/save first.json", "/retry", "/save second.json", "/undo", "/system Be rude.", "Hey", "/clear", "Ho", "/save third.json")
    first, second, third = (messages(tmp_path / f"{name}.json") for name in ("first", "second", "third"))
    assert len(first) == len(second) == 2
    assert first[1]["label"]["seed"] == 1
    assert second[1]["label"]["seed"] != 1, "another try has another seed"
    assert [message["content"] for message in third[:2]] == ["Be rude.", "Ho"]
    assert len(third) == 3


def test_a_saved_talk_is_gone_on_with(say: Say, tmp_path: Path) -> None:
    say("Hello", "/save talk.json", options=("--system", "Be kind."))
    say("More", "/save more.json", options=("--load", "talk.json"))
    found = messages(tmp_path / "more.json")
    assert all("label" in message for message in found if message["role"] == "assistant"), "labels are kept"
    assert [message["role"] for message in found] == ["system", "user", "assistant", "user", "assistant"]
    say("/load more.json", "Even more", "/save most.md")
    text = (tmp_path / "most.md").read_text()
    assert text.startswith("---\nAIGC: {")
    assert "Even more" in text
    assert text.rstrip().endswith("AI-generated")


def test_options_are_changed_on_the_way(say: Say) -> None:
    out = say("/set temperature=0", "/set", "/set temperature=99", "/set nonsense=1")
    assert '"temperature": 0' in out
    assert "temperature" in out.split('"temperature": 0')[1]
    assert "nonsense" in out
    out = say("/set temperature=0", "/set temperature=", "/set", "/set top-p=")
    assert '{"max_tokens": 6}' in out
    assert "top_p" in out.split('{"max_tokens": 6}')[1], "what was not set cannot be taken back"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/foo", "unknown command"),
        ("/retry", "no answer yet"),
        ("/undo", "no answer yet"),
        ("/save x.json", "no answer yet"),
        ("/load nowhere.json", "nowhere.json"),
        ("/help", "/retry"),
    ],
)
def test_mistakes_do_not_end_the_talk(say: Say, tmp_path: Path, line: str, words: str) -> None:
    out = say(line, "Hello", "/save after.json")
    assert words in out
    assert len(messages(tmp_path / "after.json")) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"messages": 3}', '[{"role": "evil", "content": "x"}]', "[" * 100_000])
def test_what_is_no_talk_is_not_loaded(say: Say, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    assert "holds no conversation" in say("/load bad.json")


def test_another_ending_is_refused(say: Say) -> None:
    assert ".json or .md" in say("Hello", "/save talk.docx")


def test_a_turn_too_long_is_not_kept(say: Say, tmp_path: Path) -> None:
    out = say("x" * 600, "Hello", "/save talk.json")
    assert "Shorten the prompt" in out
    assert [message["content"] for message in messages(tmp_path / "talk.json") if message["role"] == "user"] == ["Hello"]


def test_a_line_can_go_on(say: Say, tmp_path: Path) -> None:
    say("one\\", "two", "/save talk.json")
    assert messages(tmp_path / "talk.json")[0]["content"] == "one\ntwo"


def test_as_json_for_programs(say: Say) -> None:
    out = say("Hello", options=("--json",))
    assert [message["role"] for message in json.loads(out)["messages"]] == ["user", "assistant"]


def test_ctrl_c_stops_an_answer_and_keeps_it(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from miaobi import api
    from miaobi.cli.terminal import Output

    talk = chat.Talk(api.load(model), Output(), {"max_tokens": 400})
    shown = talk._show
    pieces: list[str] = []

    def interrupted(text: str) -> None:
        shown(text)
        pieces.append(text)
        if len(pieces) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chat.Talk, "_show", lambda self, text: interrupted(text))
    talk.say("Hello")
    assert [turn.role for turn in talk.turns] == ["user", "assistant"]
    assert talk.turns[1].parts[0] == "".join(pieces[:3])
    assert "(stopped)" in capsys.readouterr().err
    marks = talk.as_json()["messages"][1]
    assert (marks.get("label"), marks["ai_generated"], marks["stopped"]) == (None, True, True), "half an answer has no label of a whole one"


class Silent:
    """Answers that end before their first word, until one has one."""

    def __init__(self, loaded: Any, ends: list[BaseException | None]) -> None:
        self.loaded, self.ends = loaded, ends
        self.family, self.card = loaded.family, loaded.card
        self.seeds: list[int] = []

    def answer(self, request: Any) -> Any:
        self.seeds.append(request.seed)
        end = self.ends.pop(0)
        if end is None:
            yield from self.loaded.answer(request)
        else:
            raise end


def test_a_question_without_an_answer_is_asked_again(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from miaobi import api
    from miaobi.cli.terminal import Output

    silent: Any = Silent(api.load(model), [None, KeyboardInterrupt(), UsageError("busy"), None])
    talk = chat.Talk(silent, Output(), {"max_tokens": 4}, seed=7)
    talk.say("Hello")
    talk.say("And you?")
    assert "(stopped)" in capsys.readouterr().err
    assert len(talk.turns) == 2, "what got no answer was not said"
    with pytest.raises(UsageError, match="busy"):
        talk.command("/retry")
    talk.command("/retry")
    assert [str(turn.parts[0]) for turn in talk.turns if turn.role == "user"] == ["Hello", "And you?"]
    assert silent.seeds[:2] == [7, 7]
    assert silent.seeds[3] != 7


def test_ctrl_c_before_another_try_says_anything_keeps_the_first(model: Path) -> None:
    from miaobi import api
    from miaobi.cli.terminal import Output

    silent: Any = Silent(api.load(model), [None, KeyboardInterrupt()])
    talk = chat.Talk(silent, Output(), {"max_tokens": 4})
    talk.say("Hello")
    before = (list(talk.turns), list(talk.marks))
    talk.command("/retry")
    assert (talk.turns, talk.marks) == before


def test_names_of_files_and_options_are_as_in_a_shell(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    out = say("Hello", "/save ~/talk.json", "/clear", "/load ~/talk.json", "/set n=3")
    assert len(messages(tmp_path / "me/talk.json")) == 2
    assert not (tmp_path / "~").exists()
    assert "2 turns" in out
    assert "one answer at a time" in out


def test_models_that_do_not_converse_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "poet", "--lang", "en"]) == 2
    assert "miaobi generate poet" in capsys.readouterr().err


def test_an_unknown_model_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "nobody", "--lang", "en"]) == 2
    assert "unknown model" in capsys.readouterr().err
