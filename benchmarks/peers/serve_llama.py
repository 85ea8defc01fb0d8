"""llama.cpp's own HTTP server, as the package xllamacpp brings it: `python serve_llama.py MODEL.gguf PORT THREADS CLIENTS`."""

from __future__ import annotations

import sys
import time

import xllamacpp

CONTEXT = 512  # tokens of each client


def main(model: str, port: int, threads: int, clients: int) -> None:
    """Serve until killed."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = port
    params.n_parallel = clients
    params.n_ctx = clients * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    server = xllamacpp.Server(params)  # it serves from now on
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
