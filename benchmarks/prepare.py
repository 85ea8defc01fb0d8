"""MB/s of preparing the poem corpus: our `prepare` against the same steps in Hugging Face `datasets.map`, on the same cores.

    python benchmarks/prepare.py [--rounds 3] [--workers 2] [--files 0]

Both read the JSON files of recipes/poet.yaml, run the recipe's own steps (`poem`, `simplify`), drop exact and MinHash duplicates, split,
and write JSON lines. The peer finds near-duplicates with rensa's deduplicator; unlike ours it neither compares the candidates for real, nor
keeps alike poems on one side, nor writes a card. Every round starts from nothing but the downloaded package.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Worker, machine, ratio, rounds, serve, write_section

OURS, PEER = "miaobi prepare", "datasets.map"
RECIPE = Path(__file__).parents[1] / "recipes" / "poet.yaml"


def section(files: int) -> Any:
    """The recipe's data section; with `files`, only so many files a source, for a quick look."""
    from miaobi.core.recipe import Recipe
    from miaobi.data.readers import locate

    data = Recipe.load(RECIPE).data.model_copy(update={"tokenizer": None})
    if not files:
        return data
    sources = []
    for source in data.sources():
        paths = [path for _, path in locate(source).files[:files]]
        sources += [source.model_copy(update={"path": str(path), "licence": "MIT"}) for path in paths]
    return data.model_copy(update={"source": sources})


def input_bytes(data: Any) -> int:
    """What both have to read."""
    from miaobi.data.readers import locate

    return sum(path.stat().st_size for source in data.sources() for _, path in locate(source).files)


def serve_ours(workers: int, files: int) -> None:
    """Our worker: one preparation a request."""
    from miaobi.data.prepare import prepare

    data = section(files)

    def answer() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            dataset = prepare(data, Path(folder) / "poet", workers=workers)
            return {"seconds": time.perf_counter() - started, "records": dataset.card["records"]["kept"]}

    serve({"ready": OURS, "bytes": input_bytes(data)}, answer)


def serve_peer(workers: int, files: int) -> None:
    """The peer's worker: from_generator, map, filter, deduplicate, train_test_split, to_json."""
    import datasets

    datasets.disable_progress_bars()
    data = section(files)

    def answer() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            kept = peer_prepare(data, Path(folder), workers)
            return {"seconds": time.perf_counter() - started, "records": kept}

    serve({"ready": f"{PEER} {datasets.__version__}"}, answer)


def peer_rows(paths: list[str], keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The rows of JSON files; `load_dataset` refuses them, since not all have the same columns."""
    for path in paths:
        for row in json.loads(Path(path).read_text(encoding="utf-8")):
            yield {key: row.get(key) for key in keys}


def peer_prepare(data: Any, folder: Path, workers: int) -> int:
    """The same steps in the peer's own words; returns how many records are left."""
    import datasets
    import rensa

    from miaobi.core.types import Record
    from miaobi.data.duplicates import content_key, letters, shingles
    from miaobi.data.readers import locate
    from miaobi.data.records import Dropped
    from miaobi.data.steps import chain, choose
    from miaobi.data.steps.dedup import Dedup

    chosen = choose(data.steps)
    near = next(step.options for step in chosen if isinstance(step.options, Dedup) and step.options.method == "minhash")
    empty = {"title": "", "author": "", "era": "", "kind": "", "tune": ""}

    def mapped(row: dict[str, Any], fields: dict[str, str], meta: dict[str, str]) -> dict[str, Any]:
        run = chain(chosen)
        values = {name: row[key] for name, key in fields.items() if name != "text" and row.get(key)}
        result, _ = run(Record(id="", parts=("\n".join(row[fields["text"]] or []),), meta={**values, **meta}))
        if isinstance(result, Dropped):
            return {**empty, "text": "", "dropped": result.reason, "key": ""}
        high, low = content_key(letters(result.text))
        return {**empty, **result.meta, "text": result.text, "dropped": "", "key": f"{high:016x}{low:016x}"}

    parts = []
    text = datasets.Value("string")
    for source in data.sources():
        paths = [str(path) for _, path in locate(source).files]
        features = {key: datasets.List(text) if name == "text" else text for name, key in source.fields.items()}
        given = {"paths": paths, "keys": tuple(features)}
        rows = datasets.Dataset.from_generator(
            peer_rows, features=datasets.Features(features), gen_kwargs=given, cache_dir=str(folder), num_proc=min(workers, len(paths))
        )
        options = {"fn_kwargs": {"fields": source.fields, "meta": source.meta}, "remove_columns": rows.column_names}
        parts.append(rows.map(mapped, num_proc=workers, **options))
    whole = datasets.concatenate_datasets(parts).filter(lambda row: not row["dropped"], num_proc=workers)
    seen: set[str] = set()
    whole = whole.filter(lambda row: row["key"] not in seen and not seen.add(row["key"]))  # type: ignore[func-returns-value]
    duplicates = rensa.RMinHashDeduplicator(near.threshold, near.permutations, True, None, near.seed)

    def fresh(row: dict[str, Any], number: int) -> bool:
        signature = rensa.RMinHash(near.permutations, near.seed)
        signature.update(list(shingles(letters(row["text"]), near.ngram)))
        return bool(duplicates.add(str(number), signature))

    whole = whole.filter(fresh, with_indices=True)
    first = whole.train_test_split(test_size=data.split.val + data.split.test, seed=data.split.seed)
    for name, part in first.items():
        part.to_json(str(folder / f"{name}.jsonl"), force_ascii=False)
    return len(whole)


def main() -> None:
    """Run the rounds and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--files", type=int, default=0, help="only so many files a source; 0 is all")
    parser.add_argument("--serve", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        (serve_ours if options.serve == "ours" else serve_peer)(options.workers, options.files)
        return
    command = [sys.executable, __file__, "--workers", str(options.workers), "--files", str(options.files), "--serve"]
    workers = {OURS: Worker([*command, "ours"], threads=1), PEER: Worker([*command, "peer"], threads=1)}
    records: dict[str, int] = {}

    def run(name: str) -> float:
        answer = workers[name].ask()
        records[name] = answer["records"]
        return float(workers[OURS].about["bytes"]) / 1e6 / float(answer["seconds"])

    values = rounds([OURS, PEER], run, number=options.rounds)
    for worker in workers.values():
        worker.close()
    size = workers[OURS].about["bytes"] / 1e6
    speeds = {name: statistics.median(values[name]) for name in values}
    table = "\n".join(f"| {name} | {speed:.2f} | {size / speed:.0f} | {records[name]:,} |" for name, speed in speeds.items())
    text = (
        f"## Preparing the poem corpus\n\n{size:.0f} MB of JSON, {options.workers} processes, median of {options.rounds} interleaved "
        f"rounds; {machine()}.\n\n| | MB/s | seconds | poems left |\n|---|---|---|---|\n{table}\n\n"
        f"miaobi is {ratio(values, OURS, PEER):.2f} times as fast, and does more: see `benchmarks/prepare.py`."
    )
    print(text)
    if not options.files:
        write_section("prepare", text)


if __name__ == "__main__":
    main()
