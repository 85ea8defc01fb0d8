"""What a video model's folder says of itself, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.video.schema import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`config.json`, read and checked."""

    config: Config
    autoencoder: Mapping[str, Any] | None  # the shape of the codec of a model of latents
    shape: tuple[int, int, int]  # (C, H, W) of a frame of what is denoised

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """The configuration in `folder`.

        Raises:
            ArtifactError: there is none, or it is of another family.
        """
        values = read_config(folder)
        try:
            C, H, W = values["shape"]
            config = validate(Config, values["config"], "config.json")
            return cls(config=config, autoencoder=values["autoencoder"], shape=(int(C), int(H), int(W)))
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ArtifactError("the configuration of the model in {folder} cannot be read: {error}", folder=folder, error=error) from None

    def values(self) -> dict[str, Any]:
        """What `config.json` holds. Where the codec was is this machine's affair and left out."""
        config = self.config.model_dump(mode="json") | {"codec": "inside" if self.autoencoder else ""}
        return {"config": config, "autoencoder": dict(self.autoencoder) if self.autoencoder else None, "shape": list(self.shape)}
