"""`tokenizer.json` from the files that GPT-2 (vocab.json, merges.txt) and BERT (vocab.txt) came with before it existed."""

from __future__ import annotations

import json
from pathlib import Path

from miaobi.core.errors import ArtifactError
from miaobi.models.common.chat_template import read_settings, special_texts


def convert(folder: Path) -> str | None:
    """The tokenizer as JSON; None where the folder has none of these files.

    Raises:
        ArtifactError: the files are damaged.
    """
    vocabulary, merges, words = folder / "vocab.json", folder / "merges.txt", folder / "vocab.txt"
    try:
        if vocabulary.is_file() and merges.is_file():
            return _bytes(folder, vocabulary, merges)
        return _words(folder, words) if words.is_file() else None
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError("the tokenizer cannot be read: {error}", error=error) from None


def _bytes(folder: Path, vocabulary: Path, merges: Path) -> str:
    """GPT-2's byte-level BPE."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ids = json.loads(vocabulary.read_text(encoding="utf-8"))
    lines = [line for line in merges.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[(left, right) for left, _, right in (line.partition(" ") for line in lines)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = [*special_texts(read_settings(folder)).values(), "<|endoftext|>"]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(named) if text in ids])
    return str(tokenizer.to_str())


def _words(folder: Path, words: Path) -> str:
    """BERT's word pieces."""
    from tokenizers import BertWordPieceTokenizer

    lower = bool(read_settings(folder).get("do_lower_case", True))
    return str(BertWordPieceTokenizer(str(words), lowercase=lower).to_str())
