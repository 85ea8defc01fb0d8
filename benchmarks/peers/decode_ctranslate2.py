"""A worker: CTranslate2's generator over a model that its own converter made, in an environment of its own (see `decode_openvino`).

CTranslate2 takes tokens by name, so the checkpoint's tokenizer calls token 7 `t7`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import PeakMemory, serve

TYPES = {"int8": "int8", "fp32": "float32"}


def convert(folder: Path, precision: str) -> Path:
    """The CTranslate2 model beside the Hugging Face one."""
    target = folder.with_name(f"{folder.name}_ctranslate2_{precision}")
    if not (target / "model.bin").is_file():
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder)).convert(str(target), quantization=TYPES[precision], force=True)
    return target


def main() -> None:
    """Arguments: folder, precision, threads."""
    folder, precision, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = convert(folder, precision)
    import ctranslate2

    with PeakMemory() as memory:
        generator = ctranslate2.Generator(str(path), device="cpu", compute_type=TYPES[precision], inter_threads=1, intra_threads=threads)

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        names = [[f"t{token}" for token in prompt] for prompt in prompts]
        begin = time.perf_counter()
        found = generator.generate_batch(
            names, max_length=new, min_length=new, sampling_topk=1, beam_size=1, end_token=[], include_prompt_in_result=False
        )
        return {"seconds": time.perf_counter() - begin, "tokens": [row.sequences_ids[0] for row in found]}

    serve({"ready": f"CTranslate2 {ctranslate2.__version__}", **memory.figures}, answer)


if __name__ == "__main__":
    main()
