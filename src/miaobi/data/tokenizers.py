"""Tokenizers that `prepare` trains: characters, byte-level BPE (Radford et al. 2019), unigram (Kudo 2018); saved as `tokenizer.json`.

Ids 0 to 3 are always <pad> <unk> <bos> <eos>. Training is the library's; characters are counted, ties broken by code point.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.recipe import Tokenizer as Options
from miaobi.core.types import Record
from miaobi.data.records import captions_of

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
BATCH = 1000


def train(options: Options, records: Iterable[Record], characters: Counter[str], path: Path) -> None:
    """Train on `records` (a character tokenizer: from their counts) and write `path`."""
    build = {"character": _character, "bpe": _bpe, "unigram": _unigram}[options.kind]
    write_text(path, build(options, records, characters).to_str(pretty=False) + "\n")


def _batches(records: Iterable[Record]) -> Iterator[list[str]]:
    batch: list[str] = []
    for record in records:
        batch += [record.text] if record.text else captions_of(record.meta)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    yield batch


def _character(options: Options, records: Iterable[Record], characters: Counter[str]) -> Any:
    """Every character is a token; rare ones, by `min_count` and then `size`, are <unk>."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    common = sorted((item for item in characters.items() if item[1] >= options.min_count), key=lambda item: (-item[1], item[0]))
    vocabulary = [*SPECIAL, *(character for character, _ in common)][: options.size]
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _bpe(options: Options, records: Iterable[Record], characters: Counter[str]) -> Any:
    """Byte-level BPE: no text is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(options.size, 256 + len(SPECIAL)),
        min_frequency=options.min_count,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(records), trainer)
    return tokenizer


def _unigram(options: Options, records: Iterable[Record], characters: Counter[str]) -> Any:
    """Unigram over text in which spaces are ▁; characters outside the alphabet are <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never", split=True)
    trainer = trainers.UnigramTrainer(vocab_size=options.size, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(_batches(records), trainer)
    return _settled(tokenizer)


def _settled(tokenizer: Any) -> Any:
    """The same tokenizer however the trainer's hash maps fell: its scores differ by 1e-11 from run to run, and with them the order.

    Characters that the trained pieces lack get the least score and, one after the other as the map has them, steps of 1e-4 above it.
    """
    values = json.loads(tokenizer.to_str())
    special, pieces = values["model"]["vocab"][: len(SPECIAL)], values["model"]["vocab"][len(SPECIAL) :]
    least = min((score for _, score in pieces), default=0.0)
    added = {piece for piece, score in pieces if len(piece) == 1 and abs((steps := (score - least) / 1e-4) - round(steps)) < 1e-3}
    added = {piece for piece, score in pieces if piece in added and round((score - least) / 1e-4) < len(added)}
    rounded = [[piece, round(least if piece in added else score, 6)] for piece, score in pieces]
    values["model"]["vocab"] = special + sorted(rounded, key=lambda item: (-item[1], item[0]))
    return type(tokenizer).from_str(json.dumps(values, ensure_ascii=False))
