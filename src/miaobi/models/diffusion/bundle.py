"""A painter takes an upscaler along: one artifact that draws small pictures and large ones.

attach(Path("artifacts/painter"), Path("artifacts/painter-upscaler"))

With `weights=False` only the upscaler's graphs come along: half the size, and whoever loads the painter in torch has the small pictures.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from miaobi.core.artifact import MANIFEST, new_folder, open_artifact, seal
from miaobi.core.errors import UsageError
from miaobi.models.common.picture_runtime import find as find_graph
from miaobi.models.diffusion.stored import UPSCALER, Stored

WEIGHTS = "model.safetensors"
LEFT_OUT = (MANIFEST, "README.md", "eval.json", "recipe.yaml")  # of the upscaler: what tells its own story


def attach(painter: Path, upscaler: Path, *, weights: bool = True) -> None:
    """Put the upscaler into the painter's folder, which is sealed anew.

    Raises:
        ArtifactError: one of them is no finished model of this family, or the upscaler has no graphs that could do without its weights.
        UsageError: the second is no upscaler of the first one's pictures.
    """
    artifact, other = open_artifact(painter), open_artifact(upscaler, verify=True)
    small, large = Stored.read(painter).config, Stored.read(upscaler).config
    if large.upscale == 1 or large.conditions or large.size != large.upscale * small.size or large.channels != small.channels:
        raise UsageError("{upscaler} is no plain upscaler of the pictures of {painter}", upscaler=other.name, painter=artifact.name)
    if not weights:
        find_graph(upscaler, "denoiser")
    left_out = LEFT_OUT if weights else (*LEFT_OUT, WEIGHTS)
    with new_folder(painter, replace=True) as folder:
        shutil.copytree(painter, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder / UPSCALER, ignore_errors=True)
        shutil.copytree(upscaler, folder / UPSCALER, ignore=shutil.ignore_patterns(*left_out))
        data = tuple(dict.fromkeys((*artifact.data, *other.data)))
        seal(folder, family=artifact.family, name=artifact.name, licence=artifact.licence, base=artifact.base, data=data)
