"""A worker: OpenVINO GenAI's own pipeline over a model that optimum-intel converted, in an environment of its own.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 openvino-genai "optimum-intel[openvino]" nncf ctranslate2 onnxruntime-genai onnx-ir
    peers/bin/pip uninstall -y torchvision
    python benchmarks/decode.py --peers peers/bin/python

Token numbers go in and come out, so no tokenizer is part of the time. The first call converts the model and keeps the result.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import PeakMemory, serve

BITS = {"int8": 8, "fp32": 32}


def convert(folder: Path, precision: str) -> Path:
    """The OpenVINO model beside the Hugging Face one."""
    target = folder.with_name(f"{folder.name}_openvino_{precision}")
    if not (target / "openvino_model.xml").is_file():
        from optimum.intel import OVModelForCausalLM

        model = OVModelForCausalLM.from_pretrained(folder, export=True, load_in_8bit=precision == "int8", compile=False)
        model.save_pretrained(target)
    return target


def main() -> None:
    """Arguments: folder, precision, threads."""
    folder, precision, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = convert(folder, precision)
    import numpy as np
    import openvino
    import openvino_genai as genai

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision == "fp32":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    with PeakMemory() as memory:
        pipeline = genai.LLMPipeline(str(path), genai.Tokenizer(str(path)), "CPU", **options)

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.ignore_eos = new, False, True
        tokens = np.asarray(prompts, dtype=np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(tokens), openvino.Tensor(np.ones_like(tokens)))
        begin = time.perf_counter()
        found = pipeline.generate(inputs, config).tokens
        return {"seconds": time.perf_counter() - begin, "tokens": [list(row) for row in found]}

    serve({"ready": f"OpenVINO GenAI {genai.__version__}", **memory.figures}, answer)


if __name__ == "__main__":
    main()
