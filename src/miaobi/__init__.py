"""miaobi 妙笔: one engine for AI-generated content. Every public name loads on first use (PEP 562), so `import miaobi` costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Recipe": "miaobi.core.recipe",
    "Request": "miaobi.core.types",
    "Content": "miaobi.core.types",
    "Record": "miaobi.core.types",
    "MiaobiError": "miaobi.core.errors",
    "load": "miaobi.api",
    "generate": "miaobi.api",
    "create": "miaobi.api",
    "write": "miaobi.api",
    "prepare": "miaobi.api",
    "train": "miaobi.api",
    "adapt": "miaobi.adapting",
    "distill": "miaobi.adapting",
    "quantise": "miaobi.adapting",
    "tune": "miaobi.adapting",
    "evaluate": "miaobi.api",
    "compare": "miaobi.api",
    "export": "miaobi.api",
    "list_models": "miaobi.api",
    "show": "miaobi.checking",
    "verify": "miaobi.checking",
    "replay": "miaobi.checking",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from miaobi.adapting import adapt, distill, quantise, tune
    from miaobi.api import compare, create, evaluate, export, generate, list_models, load, prepare, train, write
    from miaobi.checking import replay, show, verify
    from miaobi.core.errors import MiaobiError
    from miaobi.core.recipe import Recipe
    from miaobi.core.types import Content, Record, Request


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'miaobi' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
