"""Writes recipes/poet-preferences.jsonl: of four poems that the poet writes freely to one prompt, the one that keeps most rules and the one
that keeps fewest. `python recipes/build_poet_preferences.py 60` takes a minute; the same number gives the same file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import miaobi
from miaobi.core.artifact import write_text
from miaobi.models.verse import reward

HERE = Path(__file__).parent
OPTIONS = {"form": "七绝", "free": True, "candidates": 1, "original": False, "temperature": 1.0, "top_p": 1.0, "max_tokens": 40}
GAP = 0.3  # a smaller difference is chance


def main(count: int) -> None:
    """Pairs for the first `count` prompts, spread over the list."""
    prompts = [json.loads(line)["text"] for line in (HERE / "poet-prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    poet = miaobi.load("poet")
    rows = []
    for number, prompt in enumerate(prompts[:: max(1, len(prompts) // count)][:count]):
        asked = miaobi.Request.of(prompt, form="七绝")
        poems = sorted({content.text for content in poet.generate(prompt, n=4, seed=number, **OPTIONS)})
        worth = {text: reward.form(asked, text) + reward.rhyme(asked, text) + reward.tone(asked, text) for text in poems}
        best, worst = max(poems, key=lambda text: worth[text]), min(poems, key=lambda text: worth[text])
        if worth[best] - worth[worst] >= GAP:
            rows.append({"prompt": prompt, "chosen": best, "rejected": worst, "options": {"form": "七绝"}})
    write_text(HERE / "poet-preferences.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} pairs")


if __name__ == "__main__":
    main(int(sys.argv[1]))
