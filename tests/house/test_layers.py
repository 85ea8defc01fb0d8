"""The house keeps its rules: what is light stays light, imports point one way, nothing unpickles, one door labels."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import miaobi

SOURCE = Path(miaobi.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
HEAVY = ("torch", "numpy", "pydantic", "transformers", "onnxruntime", "openvino", "tqdm", "yaml")


def loaded_after(code: str) -> set[str]:
    """The names of the modules that a fresh Python holds after the code."""
    program = f"{code}\nimport sys\nsys.stderr.write('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stderr.rpartition("\n")[2].split())


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call in the source: file, node, dotted name."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name, node, ast.unparse(node.func)


def top_imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it is imported (blocks for the type checker excluded)."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("arguments", ["--help", "models", "--version"])
def test_help_and_models_load_nothing_heavy(arguments: str) -> None:
    code = f"""
import sys
sys.argv = ["miaobi", "{arguments}"]
from miaobi.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    loaded = loaded_after(code)
    assert "miaobi.cli.main" in loaded
    assert not loaded & set(HEAVY)


def test_importing_miaobi_and_the_families_costs_nothing() -> None:
    assert not loaded_after("import miaobi; dir(miaobi)") & {*HEAVY, "miaobi.api", "argparse"}
    families = "".join(f"import miaobi.models.{path.parent.name}.family\n" for path in SOURCE.glob("models/*/family.py"))
    assert families
    assert not loaded_after(families) & set(HEAVY)


def test_using_never_loads_torch_at_import() -> None:
    """Everything but the learning side: torch comes with the first model that needs it."""
    light = [
        path for path in TREES if path.split("/")[0] in ("core", "trust", "cli", "api.py") or path.endswith(("/runtime.py", "_runtime.py"))
    ]
    light += ["engine/generate.py", "engine/replay.py"]
    code = "".join(f"import miaobi.{path[:-3].replace('/', '.').removesuffix('.__init__')}\n" for path in light)
    assert "torch" not in loaded_after(code)
    assert "transformers" not in loaded_after(code)


@pytest.mark.parametrize("name", sorted(name for name in TREES if name.startswith("core/")))
def test_core_is_standard_library_only(name: str) -> None:
    allowed = {"miaobi.core", *(("pydantic",) if name in ("core/adapting.py", "core/recipe.py", "core/schema.py") else ())}
    foreign = [
        module
        for module in top_imports(TREES[name])
        if module.split(".")[0] not in sys.stdlib_module_names and not any(module == ok or module.startswith(ok + ".") for ok in allowed)
    ]
    assert not foreign


def test_imports_point_one_way_and_families_are_strangers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    root = SOURCE.parents[1]
    if not linter.is_file() or not (root / "pyproject.toml").is_file():
        pytest.skip("import-linter is not installed, or this is not a checkout")
    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_every_family_is_in_the_independence_contract() -> None:
    text = (SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for path in SOURCE.glob("models/*/family.py"):
        assert f'"miaobi.models.{path.parent.name}"' in text, "add it to the import-linter contract"


def test_content_and_label_are_built_at_one_door() -> None:
    built: dict[str, set[str]] = {"Content": set(), "Label": set()}
    for file, _, name in calls():
        if name.split(".")[-1] in built:
            built[name.split(".")[-1]].add(file)
    assert built["Content"] == {"engine/generate.py"}
    assert built["Label"] == {"engine/generate.py", "trust/label.py"}  # trust.label reads labels back from files


def _weights_only(node: ast.Call) -> bool:
    """Whether a `torch.load` may make tensors and nothing else."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}.get("weights_only")
    return isinstance(given, ast.Constant) and given.value is True


def test_nothing_unpickles_or_runs_text() -> None:
    forbidden = {
        *("eval", "exec", "__import__", "os.system", "os.popen"),
        *("torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "np.fromregex", "pandas.read_pickle"),
    }
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
    wrong = [f"{file}:{node.lineno}: {name}" for file, node, name in calls() if name in forbidden and not _weights_only(node)]
    wrong += [
        f"{file}:{node.lineno}: {keyword.arg}"
        for file, node, _ in calls()
        for keyword in node.keywords
        if keyword.arg in ("trust_remote_code", "allow_pickle", "shell")
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{file}:{node.lineno}: import {name}" for name in names if name.split(".")[0] in modules]
    assert not wrong


def test_no_generator_is_left_inside_a_mode_of_torch() -> None:
    """What runs between two values of such a generator would run in its mode; and modes that end in another order stay on for good."""
    modes = {"torch.no_grad", "torch.inference_mode", "torch.enable_grad", "torch.autocast", "torch.set_grad_enabled"}
    wrong = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.With) and any(ast.unparse(item.context_expr).split("(")[0] in modes for item in node.items):
                wrong += [f"{file}:{inner.lineno}" for inner in ast.walk(node) if isinstance(inner, ast.Yield | ast.YieldFrom)]
    assert not wrong


def test_files_and_functions_stay_short() -> None:
    long = [
        f"{file}: {end} lines" for file, end in ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in FILES) if end >= 500
    ]
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 80:
                long.append(f"{file}:{node.lineno}: {node.name}")
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [file for file, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not silent
    late = [
        file
        for file, tree in TREES.items()
        if len(tree.body) > 1 and not file.endswith("__init__.py") and "__future__" not in top_imports(tree)
    ]
    assert not late


def test_no_vague_modules() -> None:
    vague = [file for file in TREES if Path(file).stem in ("utils", "util", "helpers", "helper", "misc", "manager", "handler")]
    assert not vague
