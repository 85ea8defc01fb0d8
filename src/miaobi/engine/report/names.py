"""What a figure is called for people: `retrieval_zh_real@pair` is "picture and caption find each other · Chinese · real ones · unseen
pairs".

A figure's name is what recipes, `eval.json` and scripts write: the metric's, a suffix for each way in which it was taken, and behind `@` a
part of the data. A metric that is not listed here (a third party's) keeps its own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from miaobi.core.language import tr

METRICS = {
    "alignment": "reading in order",
    "bits_per_byte": "bits per byte",
    "bits_per_character": "bits per character",
    "bits_per_dimension": "bits per dimension",
    "bits_per_event": "bits per event",
    "bleu": "BLEU",
    "chrf": "chrF",
    "cider": "CIDEr",
    "class": "the class that was asked for",
    "classification": "classification",
    "coherence": "coherence",
    "consistency": "frames like their neighbours",
    "copied": "texts with a copied clause",
    "copied_span": "longest copied run of notes",
    "coverage": "coverage of real pictures",
    "density": "density among real pictures",
    "distinct": "different runs",
    "diversity": "difference between pictures",
    "exact": "captions like the picture's own",
    "exact_match": "exact match",
    "extraction": "training texts said by heart",
    "film_text": "fit of film and caption",
    "form": "shape of the form",
    "found": "the right one of 100",
    "frechet": "Fréchet distance",
    "frechet_clips": "Fréchet distance of motion",
    "frechet_frames": "Fréchet distance of frames",
    "full_bars": "full bars",
    "image_text": "fit of picture and caption",
    "in_mode": "notes in the mode",
    "intervals": "leaps between notes",
    "kernel": "kernel distance",
    "length": "length of texts",
    "mauve": "MAUVE",
    "mel_cepstral_distortion": "mel-cepstral distortion",
    "mel_error": "mel error",
    "movement": "movement",
    "nearest": "distance to the nearest training picture",
    "overlap": "overlap with the picture's captions",
    "perplexity": "perplexity",
    "pinyin_error": "syllables heard wrongly",
    "pitch_classes": "pitch classes",
    "precision": "precision",
    "pseudo_bits_per_character": "bits per character among all others",
    "real_time_factor": "seconds of computing for one of speech",
    "recall": "recall",
    "reconstruction": "reconstruction",
    "regular": "wholly regular poems",
    "repetition": "repetition",
    "resampled": "candidates thrown away",
    "retrieval": "picture and caption find each other",
    "rhyme": "rhymes",
    "rouge": "ROUGE",
    "self_bleu": "likeness to each other (self-BLEU)",
    "style": "the style that was asked for",
    "tone": "tones",
    "verbatim": "longest copied span",
    "word_error": "words heard wrongly",
}
WAYS = {  # of suffixes; one that is not here (an order, a class) stands as it is
    "accuracy": "accuracy",
    "caption": "the caption for a picture",
    "closer": "nearer than held-out ones",
    "en": "English",
    "f1_macro": "F1, mean over classes",
    "figures": "with numbers",
    "free": "without constraints",
    "kept": "kept all the same",
    "lines": "whole lines",
    "max": "the longest",
    "mse": "squared error",
    "perceptual": "perceptual distance",
    "picture": "the picture for a caption",
    "poems": "old poems",
    "psnr": "PSNR",
    "real": "real ones",
    "ssim": "SSIM",
    "still": "a still picture",
    "strict": "strict pattern",
    "to_real": "beside real ones",
    "units": "counted in units",
    "zh": "Chinese",
}
PARTS = {"pair": "unseen pairs", "group": "unseen things"}  # of `@`: what `held` says of held-out records


def title(name: str) -> str:
    """The figure's title in the reader's language; its name where the metric is not known."""
    whole, _, part = name.partition("@")
    metric = max((known for known in METRICS if whole == known or whole.startswith(f"{known}_")), key=len, default="")
    if not metric:
        return name
    words = [METRICS[metric], *_ways(whole.removeprefix(metric).strip("_"))]
    return " · ".join(map(tr, [*words, PARTS.get(part, part)] if part else words))


def cell(name: str) -> str:
    """The figure in a table, as HTML: its title, and small its name, which one searches for and writes in a recipe."""
    said = title(name)
    return escape(said) if said == name else f"{escape(said)}<br><small>{escape(name)}</small>"


def _ways(rest: str) -> Iterator[str]:
    """The suffixes of a figure, each as long as one that is known."""
    while rest:
        way = max((known for known in WAYS if rest == known or rest.startswith(f"{known}_")), key=len, default=rest.partition("_")[0])
        yield WAYS.get(way, way)
        rest = rest.removeprefix(way).strip("_")
