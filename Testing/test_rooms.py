"""Rules for the code of the two libraries: what may import what, and that public functions have type hints."""

import ast
import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LIBRARIES = {name: REPOSITORY / name.removesuffix("Lib") for name in ("ICHMultiTaskLib", "ICHMultiTaskTrainingLib")}
HEAVY = {"torch", "slicer", "vtk", "vtkmodules", "qt", "ctk"}
"""Packages that take seconds to import, or are missing outside 3D Slicer."""
BY_NEED = {
    "ICHMultiTaskLib": "names of the package are imported on first use",
    "ICHMultiTaskTrainingLib.cli.in_slicer": "the path is set first",
}
"""Files that import own files inside functions for another reason."""


def test_a_room_imports_only_from_those_below_it():
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("ICHMultiTask", "ICHMultiTaskTraining"))
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True, no_cache=True))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def test_own_files_are_imported_inside_functions_only_if_they_load_pytorch_or_slicer():
    wrong = []
    for name, (path, tree) in _files().items():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inside = [node for function in functions for node in ast.walk(function)]
        for imported in {found for node in inside for found in _own(node, name)}:
            if not _is_heavy(imported) and name not in BY_NEED:
                wrong.append(f"{path}: {imported}")
    assert not wrong, "\n".join(wrong)


def test_public_functions_have_type_hints():
    files = [path for root in LIBRARIES.values() for path in root.rglob("*.py")]
    missing = [f"{path}:{found}" for path in files for found in _untyped(ast.parse(path.read_text("utf-8")).body)]
    assert not missing, "\n".join(missing)


@functools.cache
def _files():
    """Path and syntax tree by the name of the module."""
    found = {}
    for root in LIBRARIES.values():
        for path in sorted(root.glob("*Lib/**/*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path, ast.parse(path.read_text("utf-8"))
    return found


def _own(node, importer):
    """Names of own modules that an import statement may name."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        files = _files()
        package = importer if files[importer][0].name == "__init__.py" else importer.rpartition(".")[0]
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [name for name in names if name in _files()]


def _is_heavy(name, seen=None):
    """Whether a module imports PyTorch or 3D Slicer at file scope, itself or by another own module."""
    seen = seen if seen is not None else set()
    if name in seen:
        return False
    seen.add(name)
    for node in _at_file_scope(_files()[name][1]):
        outside = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if not getattr(node, "level", 0) and {found.partition(".")[0] for found in outside} & HEAVY:
            return True
        if any(_is_heavy(found, seen) for found in _own(node, name)):
            return True
    return False


def _at_file_scope(tree):
    """Import statements that run on import: not in functions, not for type checkers."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node


def _untyped(body, owner="", private=False):
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _untyped(node.body, f"{node.name}.", private or node.name.startswith("_"))
        elif isinstance(node, ast.FunctionDef) and not private:
            if node.name.startswith("_") and node.name not in ("__init__", "__call__"):
                continue
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments = arguments[1:] if owner and not static else arguments
            if any(a.annotation is None for a in arguments) or (node.returns is None and node.name != "__init__"):
                yield f"{node.lineno} {owner}{node.name}"
