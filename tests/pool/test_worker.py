"""A pool's process from inside: what it says on its pipe when nobody asks it anything."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from miaobi.serve.pool import Ask, wire, worker


def test_a_process_that_rests_gives_memory_back_and_tells_once_what_it_holds(scribe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REST_SECONDS", 0.05)
    (asked, ask), (said, say) = os.pipe(), os.pipe()
    with os.fdopen(ask, "wb") as pool, os.fdopen(asked, "rb") as source, os.fdopen(said, "rb") as heard, os.fdopen(say, "wb") as out:
        process = worker.Worker(out)
        threading.Thread(target=process.work, daemon=True).start()
        listening = threading.Thread(target=process.listen, args=(source,))
        listening.start()

        def tell(*message: Any) -> None:
            pool.write(wire.pack(list(message)))
            pool.flush()

        def hear() -> list[Any]:
            json, rest = wire.sizes(heard.read(wire.HEAD.size))
            frame: list[Any] = wire.unpack(heard.read(json), heard.read(rest))
            return frame

        tell("load", str(scribe), "cpu", 1, 1 << 30)
        assert hear()[0] == "loaded"
        for id in (1, 2):
            tell("ask", id, Ask.of("scribe", "fox", seed=0, max_tokens=4), "en")
            while (frame := hear())[0] != "end":
                pass
            assert frame == ["end", id, None]
            kind, figures = hear()  # nobody asked for it: the process rests
            assert kind == "figures"
            assert figures["memory_bytes"] > 0
        pool.close()
        listening.join()
