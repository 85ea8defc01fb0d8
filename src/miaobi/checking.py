"""The Python API of what is there already: what a file or a folder is, whether its label is true, and the same content made again.

miaobi.replay("moon.txt").identical
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import Artifact, open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.families import family
from miaobi.core.shelf import find, find_by_hash
from miaobi.engine.load import RUNTIMES, load

if TYPE_CHECKING:
    from miaobi.engine.inputs import Given
    from miaobi.trust.replay import Replay
    from miaobi.trust.verify import Verdict


def verify(thing: str | Path) -> Verdict | Artifact:
    """The verdict about a labelled file; or a model, every file of which has the hash that was sealed.

    Raises:
        UsageError: no such file or model, or a file of another kind.
        ArtifactError: a file of the model is missing or damaged.
    """
    path = Path(thing)
    if path.is_file():
        from miaobi.trust.verify import verify as verify_file

        return verify_file(path)
    from miaobi.engine.about import found

    return open_artifact(found(thing), verify=True)


def replay(
    path: str | Path,
    *,
    model: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    **given: Given | Sequence[Given] | None,
) -> Replay:
    """Make the content of a labelled file again: the same request to the model with the same hash; tells whether it is identical.

    Args:
        model: the model's name or folder; by default it is looked for by the hash in the label.
        given: the very files that were given, by name (`image`, `mask`, `sound`); their hashes are in the label, they themselves are not.

    Raises:
        UsageError: the label does not hold the whole request.
        ArtifactError: the model is not here, or the one that was named has another hash.
    """
    from miaobi.engine.inputs import media
    from miaobi.engine.replay import replay as make_again
    from miaobi.trust import label as labels
    from miaobi.trust.replay import APP

    path = Path(path)
    label = labels.read(path)
    if label.family == APP:
        from miaobi.core.apps import Desk, app

        again = app(label.model).replayer()
        if again is not None:
            found: Replay = again(label, path, Desk(load=lambda name: load(name, device=device, threads=threads)))
            return found
        raise UsageError(
            "this was put together by the app '{app}' from {count} contents; make it again with: miaobi {app} '{prompt}' --seed {seed}",
            app=label.model,
            count=len(label.parents),
            prompt=label.prompt,
            seed=label.seed,
        )
    folder = find(model) if model else find_by_hash(label.source, label.model)
    kind = family(open_artifact(folder).family)
    several = kind.runtime and label.runtime in RUNTIMES  # two runtimes round differently, so their contents may differ
    runtime = label.runtime if several else "auto"
    return make_again(
        label,
        lambda name: load(folder, runtime=runtime, device=device, threads=threads).model,
        media=media(kind, given),
        original=labels.read_marked(path),
    )


def show(thing: str | Path) -> dict[str, Any]:
    """What a labelled file, a model, a dataset, a run or a recipe is, as plain values; `kind` says which.

    Raises:
        UsageError: nothing of that name is here, or the file carries no label.
    """
    from miaobi.engine.about import about

    return about(thing)
