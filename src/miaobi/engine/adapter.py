"""An adapter on disk: PEFT's folder layout, so that `peft` loads what was learned here, and a file that says to which base it belongs.

`adapter_config.json` and `adapter_model.safetensors` are PEFT's; `base.json` holds the name and the hashes of the model that was adapted,
so that an adapter is never put onto another one. Where several of our matrices are one of theirs (GPT-2's query, key and value), the
additions are stacked: the downs over each other, the ups along the diagonal. That is the same sum, of a rank as many times higher.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from miaobi.core.artifact import ADAPTER, Artifact, open_artifact, read_json, write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.protocols import Adaptable, HubNames
from miaobi.core.shelf import find, list_models
from miaobi.engine.lora import Addition, additions, attach_stored, merge, whole

WEIGHTS, BASE = "adapter_model.safetensors", "base.json"
UNREAD = (  # settings of PEFT with which W + s B A is not, or not alone, what it computes
    *("bias", "modules_to_save", "layer_replication", "lora_bias", "trainable_token_indices", "target_parameters"),
    *("use_bdlora", "use_qalora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
)
OTHER_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")  # they begin by changing the base's own weights
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?")


def save(learner: Adaptable, folder: Path, *, base: Artifact, dropout: float = 0.0) -> None:
    """Write the additions of a learner's network."""
    with whole(learner.network):  # names are those of the plain network
        names = learner.hub_names()
    stored = _to_hub(learner.network, names)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in _tensors(stored).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    write_text(folder / ADAPTER, json.dumps(_config(stored, names, base, dropout), indent=2) + "\n")
    named = {"name": base.name, "sha256": base.sha256, "weights_sha256": base.weights_sha256}
    write_text(folder / BASE, json.dumps(named, indent=2) + "\n")


def base_of(artifact: Artifact) -> Artifact:
    """The model that an adapter was made for: the one of that hash or with these weights, wherever it is now.

    Raises:
        ArtifactError: it is not here, or what has its name is another model.
    """
    values = read_json(artifact.folder / BASE)
    name, sha256, weights = (str(values.get(key, "")) for key in ("name", "sha256", "weights_sha256"))
    places = [known.folder for known in list_models()]
    if artifact.base and Path(artifact.base).is_dir():
        places.append(find(Path(artifact.base)))
    for place in places:
        found = open_artifact(place)
        if found.sha256 == sha256 or (weights and found.weights_sha256 == weights):
            found.verify()
            return found
    if any(known.name == name for known in list_models()):
        raise ArtifactError(
            "the adapter {folder} was made for another '{name}' than the one that is here (its hash is {wanted})",
            folder=artifact.folder,
            name=name,
            wanted=sha256[:12],
        )
    raise ArtifactError(
        "the adapter {folder} needs its base model '{name}' (hash {wanted}), which is not here",
        folder=artifact.folder,
        name=name,
        wanted=sha256[:12],
    )


def put_on(learner: Any, artifact: Artifact) -> None:
    """Merge an adapter into the base model that was loaded for it.

    Raises:
        ArtifactError: the files are damaged or of a kind that is not read.
        UsageError: the matrices do not fit the model.
    """
    if not isinstance(learner, Adaptable):
        raise ArtifactError("{folder} is an adapter, and the family of its base takes none", folder=artifact.folder)
    attach_stored(learner.network, _from_hub(read(artifact.folder), learner.hub_names()))
    merge(learner.network)
    learner.network.eval()


def read(folder: Path) -> dict[str, Addition]:
    """The additions of a PEFT folder by the hub's names of their matrices.

    Raises:
        ArtifactError: not LoRA or DoRA, a setting that is not computed, or a damaged file.
    """
    config = read_json(folder / ADAPTER)
    _check(config, folder)
    parts: dict[str, dict[str, Tensor]] = {}
    try:
        for key, tensor in load_file(folder / WEIGHTS).items():
            found = _KEY.fullmatch(key)
            if found is None:
                raise ValueError(key)
            parts.setdefault(found["module"], {})[found["part"]] = tensor.float()
        return {
            module: Addition(
                down=tensors["lora_A"],
                up=tensors["lora_B"],
                scale=_scale(config, module, len(tensors["lora_A"])),
                magnitude=tensors.get("lora_magnitude_vector"),
            )
            for module, tensors in parts.items()
        }
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError("the adapter in {folder} cannot be read: {error}", folder=folder, error=error) from None


def _check(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse what would be computed wrongly."""
    unknown = [name for name in UNREAD if config.get(name) and config[name] != "none"]
    if str(config.get("init_lora_weights")).startswith(OTHER_BASES):
        unknown.append(f"init_lora_weights={config['init_lora_weights']}")
    if config.get("peft_type") != "LORA" or unknown:
        what = ", ".join(unknown) or str(config.get("peft_type"))
        raise ArtifactError("the adapter in {folder} is of a kind that is not read here: {what}", folder=folder, what=what)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / rank of a matrix, or alpha over the rank's root (rsLoRA)."""
    pattern: Mapping[str, Any] = config.get("alpha_pattern") or {}
    alpha = next((value for key, value in pattern.items() if re.fullmatch(rf"(.*\.)?({key})", module)), config["lora_alpha"])
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _config(stored: Mapping[str, Addition], names: HubNames, base: Artifact, dropout: float) -> dict[str, Any]:
    """`adapter_config.json`. Where ranks differ, the commonest is the rule and the others are told by name."""
    ranks = {module: len(addition.down) for module, addition in stored.items()}
    rank = max(set(ranks.values()), key=list(ranks.values()).count)
    scale = next(iter(stored.values())).scale
    others = {module: other for module, other in ranks.items() if other != rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": dropout,
        "rank_pattern": {re.escape(module): other for module, other in others.items()},
        "alpha_pattern": {re.escape(module): scale * other for module, other in others.items()},
        "target_modules": sorted(stored),
        "use_dora": any(addition.magnitude is not None for addition in stored.values()),
        "fan_in_fan_out": names.transposed,
        "bias": "none",
        "inference_mode": True,
    }


def _tensors(stored: Mapping[str, Addition]) -> dict[str, Tensor]:
    """The additions under PEFT's names."""
    tensors: dict[str, Tensor] = {}
    for module, addition in stored.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = addition.down
        tensors[f"base_model.model.{module}.lora_B.weight"] = addition.up
        if addition.magnitude is not None:
            tensors[f"base_model.model.{module}.lora_magnitude_vector"] = addition.magnitude
    return tensors


def _to_hub(network: nn.Module, names: HubNames) -> dict[str, Addition]:
    """Additions by the hub's names; those to parts of one matrix become one."""
    own = additions(network)
    groups: dict[str, list[str]] = {}
    for name, hub in names.modules.items():
        groups.setdefault(hub, []).append(name)
    chosen = {hub: parts for hub, parts in groups.items() if any(part in own for part in parts)}
    like = next(iter(own.values()))
    return {hub: _stacked([own.get(part) or _nothing(network, part, like) for part in parts]) for hub, parts in chosen.items()}


def _nothing(network: nn.Module, name: str, like: Addition) -> Addition:
    """An addition of rank 0, to a part of a matrix whose other parts have one."""
    weight = network.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    magnitude = None if like.magnitude is None else weight.detach().norm(dim=1)
    return Addition(down=weight.new_zeros(0, weight.shape[1]), up=weight.new_zeros(len(weight), 0), scale=like.scale, magnitude=magnitude)


def _stacked(parts: list[Addition]) -> Addition:
    """One addition to matrices that lie over each other."""
    if len(parts) == 1:
        return parts[0]
    magnitudes = [part.magnitude for part in parts if part.magnitude is not None]
    return Addition(
        down=torch.cat([part.down for part in parts]),
        up=torch.block_diag(*(part.up for part in parts)),  # type: ignore[no-untyped-call]
        scale=parts[0].scale,
        magnitude=torch.cat(magnitudes) if magnitudes else None,
    )


def _from_hub(stored: Mapping[str, Addition], names: HubNames) -> dict[str, Addition]:
    """Additions by our names; one to several of our matrices gives each its rows.

    Raises:
        ArtifactError: a matrix that the base does not have.
    """
    own: dict[str, Addition] = {}
    left = dict(stored)
    for hub in dict.fromkeys(names.modules.values()):
        addition = left.pop(hub, None)
        if addition is None:
            continue
        parts = [name for name, other in names.modules.items() if other == hub]
        ups = addition.up.chunk(len(parts))
        magnitudes = addition.magnitude.chunk(len(parts)) if addition.magnitude is not None else [None] * len(parts)
        for name, up, magnitude in zip(parts, ups, magnitudes, strict=True):
            own[name] = Addition(down=addition.down, up=up, scale=addition.scale, magnitude=magnitude)
    if left:
        raise ArtifactError(
            "the adapter adds to {name}, which the base model does not have: it was made for another model", name=next(iter(left))
        )
    return own
