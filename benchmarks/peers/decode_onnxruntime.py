"""A worker: ONNX Runtime GenAI over a model that its own builder made, in an environment of its own (see `decode_openvino`).

The builder knows the Llama line and not GPT-2; eight bits are its own weight-only blocks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import PeakMemory, serve

BUILDER = "onnxruntime_genai.models.builder"


def convert(folder: Path, precision: str, threads: int) -> Path:
    """The ONNX model beside the Hugging Face one."""
    target = folder.with_name(f"{folder.name}_onnxruntime_{precision}")
    settings = target / "genai_config.json"
    if not settings.is_file():
        command = [sys.executable, "-m", BUILDER, "-i", str(folder), "-o", str(target), "-p", precision, "-e", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
    values = json.loads(settings.read_text())
    values["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    settings.write_text(json.dumps(values))
    return target


def main() -> None:
    """Arguments: folder, precision, threads."""
    folder, precision, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = convert(folder, precision, threads)
    import numpy as np
    import onnxruntime_genai as genai

    with PeakMemory() as memory:
        model = genai.Model(str(path))

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        length = len(prompts[0]) + new
        begin = time.perf_counter()
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=length, min_length=length, batch_size=len(prompts), do_sample=False)
        generator = genai.Generator(model, parameters)
        generator.append_tokens(np.asarray(prompts, dtype=np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        found = [list(map(int, generator.get_sequence(row)))[-new:] for row in range(len(prompts))]
        return {"seconds": time.perf_counter() - begin, "tokens": found}

    serve({"ready": f"ONNX Runtime GenAI {genai.__version__}", **memory.figures}, answer)


if __name__ == "__main__":
    main()
