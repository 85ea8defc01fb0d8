"""Whether a scorer finds what belongs together: of a held-out picture the right one of 100 captions, and of a caption the right picture.

The same top-1 that judges painters (`engine.metrics.retrieval`), asked of the judge itself; so this is the ceiling of what it can say.
"""

from __future__ import annotations

from dataclasses import replace

from miaobi.engine.gallery import LANGUAGES, Gallery, is_picture
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio
from miaobi.engine.metrics.retrieval import CANDIDATES, top1


@metric("found", needs=["judge"])
def found(evidence: Evidence) -> dict[str, Figure]:
    """How often the right one of 100 captions is found for a picture, and the right one of 100 pictures for a caption, by language."""
    judge, figures = evidence.judge, {}
    assert judge is not None, "whoever is asked for this metric embeds pictures and texts"
    gallery = Gallery([record for record in evidence.records if is_picture(record)])
    if len(gallery):
        gallery.embed(judge)  # once for both languages
    for language in LANGUAGES:
        captioned = gallery.take([place for place, text in enumerate(gallery.captions(language)) if text])
        concepts = captioned.concepts
        if len(set(concepts)) < 2:
            continue
        seen, read = captioned.embed(judge), judge.embed_texts(captioned.captions(language))
        for what, queries, candidates in (("caption", seen, read), ("picture", read, seen)):
            figure = ratio(top1(queries, candidates, concepts), seed=evidence.seed, unit="share", better="higher")
            few = len(set(concepts)) < CANDIDATES
            figures[f"{what}_{language}"] = replace(figure, note="fewer than 100 to choose from") if few else figure
    if not figures:
        raise Unmeasurable("none of the held-out pictures has a caption to find")
    return figures
