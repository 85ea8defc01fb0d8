"""How well a model predicts what it has not seen: bits per character, byte and dimension, and perplexity.

Bits are summed over all held-out records and divided by all their characters (micro average), as in language-modelling papers. Bits per
character and per byte compare models with different tokenizers; perplexity, which is per token, does not.
"""

from __future__ import annotations

import numpy as np

from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio


@metric("bits_per_character", needs=["scores"])
def bits_per_character(evidence: Evidence) -> Figure:
    """How many bits the model needs for a character of held-out text."""
    scores = evidence.scores
    return ratio(
        [score.bits for score in scores],
        [score.characters for score in scores],
        seed=evidence.seed,
        unit="bits/character",
        better="lower",
    )


@metric("bits_per_byte", needs=["scores"])
def bits_per_byte(evidence: Evidence) -> Figure:
    """How many bits the model needs for a UTF-8 byte of held-out text."""
    scores = evidence.scores
    return ratio([score.bits for score in scores], [score.bytes for score in scores], seed=evidence.seed, unit="bits/byte", better="lower")


@metric("perplexity", needs=["scores"])
def perplexity(evidence: Evidence) -> Figure:
    """Among how many equally likely tokens the model hesitates: 2 to the bits per token."""
    scores = evidence.scores
    return ratio(
        [score.bits for score in scores],
        [score.tokens for score in scores],
        seed=evidence.seed,
        unit="tokens",
        better="lower",
        transform=np.exp2,
    )


@metric("pseudo_bits_per_character", needs=["pseudo"])
def pseudo_bits_per_character(evidence: Evidence) -> Figure:
    """How many bits a masked model needs for a character, told all others: no likelihood, so only for masked models among themselves."""
    scores = evidence.pseudo
    bits, characters = [score.bits for score in scores], [score.characters for score in scores]
    return ratio(bits, characters, seed=evidence.seed, unit="bits/character", better="lower")


@metric("bits_per_dimension", needs=["scores"])
def bits_per_dimension(evidence: Evidence) -> Figure:
    """How many bits the model needs for one number (a channel of a pixel) of a held-out picture; 8 is knowing nothing of 8-bit pictures."""
    scores = [score for score in evidence.scores if score.dimensions]
    if not scores:
        raise Unmeasurable("the likelihoods are not over the dimensions of pictures")
    return ratio(
        [score.bits for score in scores],
        [score.dimensions for score in scores],
        seed=evidence.seed,
        unit="bits/dimension",
        better="lower",
    )
