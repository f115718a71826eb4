"""What a program imports, read from its own import lines without running any of it.

Modules of the standard library and of installed packages are found; the user's own modules (beside the program, on
PYTHONPATH, or installed in place) are not imported by a server but followed: their import lines count as the program's.
"""

from __future__ import annotations

import ast
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder

# What wandb and torch import only when they are first used, by name where a release has it.
LATER = {
    "wandb": (
        "requests", "yaml", "wandb.apis.public", "wandb.docker", "wandb.sdk.launch.inputs.internal",
        "wandb.sdk.lib.gitlib", "wandb.sdk.lib.service.service_connection",
    ),
    "torch.optim": ("torch._dynamo",),
}  # fmt: skip
_CHANGES = ("setdefault", "update", "pop", "popitem", "clear")


@dataclass(frozen=True)
class Line:
    """``import module``, or ``from module import name``. ``sure`` unless it stands in a function, or is ours."""

    module: str
    name: str | None
    where: str
    sure: bool = True


def of_program(path: str, folder: str) -> list[Line]:
    """The import lines of the program at ``path``, whose own modules lie in ``folder``."""
    reader = _Reader([folder, *sys.path], own=None)
    reader.read(path, package="")
    return reader.all()


def of_module(name: str) -> list[Line]:
    """The import lines of what ``python -m name`` runs."""
    top = name.partition(".")[0]
    reader = _Reader([os.getcwd(), *sys.path], own=top)
    reader.follow(name)
    reader.follow(f"{name}.__main__")
    return reader.all()


class _Reader:
    def __init__(self, path: list[str], own: str | None) -> None:
        self._path = path
        self._own = own
        self._seen: set[str] = set()
        self._lines: list[Line] = []
        self._optim = False
        self._libraries = _library_folders()
        self._kinds: dict[str, tuple[str, ModuleSpec | None]] = {}

    def all(self) -> list[Line]:
        """What was found, each once, and what its libraries import later."""
        found = list(dict.fromkeys(self._lines))
        tops = {line.module.partition(".")[0] for line in found}
        later = [name for top, names in LATER.items() if top in tops for name in names]
        if self._optim and "torch" in tops:
            later += LATER["torch.optim"]
        return found + [Line(name, None, "later", sure=False) for name in later]

    def read(self, path: str, package: str) -> None:
        path = os.path.abspath(path)
        if path in self._seen:
            return
        self._seen.add(path)
        try:
            with open(path, "rb") as file:
                source = file.read()
            tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):
            return  # the trial tells
        self._optim = self._optim or b"optim" in source
        self._body(tree.body, path, package, True)

    def follow(self, module: str) -> None:
        """Read the files that an import of a user's own module runs."""
        top, *rest = module.split(".")
        _, spec = self._kind(top)
        if spec is None:
            return
        if spec.submodule_search_locations is None:
            if spec.origin and not rest:
                self.read(spec.origin, "")
            return
        folders = list(spec.submodule_search_locations)
        package = top
        for folder in folders:
            self.read(os.path.join(folder, "__init__.py"), package)
        for number, part in enumerate(rest):
            for folder in folders:
                if number == len(rest) - 1:
                    self.read(os.path.join(folder, f"{part}.py"), package)
            folders = [os.path.join(folder, part) for folder in folders]
            package += f".{part}"
            for folder in folders:
                self.read(os.path.join(folder, "__init__.py"), package)

    def _body(self, body: list[ast.stmt], path: str, package: str, sure: bool) -> bool:
        """Read statements in order; False where the program changes its environment: what it imports after that may
        look at the change, so that is left to the trial."""
        functions = []
        for node in body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for line in _lines(node, path, package, sure):
                    self._found(line)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append(node)
            elif isinstance(node, ast.If) and _is_type_checking(node.test):
                if not self._body(node.orelse, path, package, sure):
                    return False
            elif inner := list(_bodies(node)):
                if not all(self._body(each, path, package, sure) for each in inner):
                    return False
            elif _changes_environment(node):
                return False
        for function in functions:
            self._body(function.body, path, package, False)
        return True

    def _found(self, line: Line) -> None:
        kind, _ = self._kind(line.module.partition(".")[0])
        if kind == "library":
            self._lines.append(line)
        elif kind == "own":
            self.follow(line.module)
            if line.name:
                self.follow(f"{line.module}.{line.name}")

    def _kind(self, top: str) -> tuple[str, ModuleSpec | None]:
        """Whose a top-level module is: a library's, the user's own, or nobody's."""
        if top not in self._kinds:
            self._kinds[top] = self._look(top)
        return self._kinds[top]

    def _look(self, top: str) -> tuple[str, ModuleSpec | None]:
        if top in sys.builtin_module_names:
            return "library", None
        try:
            spec = PathFinder.find_spec(top, self._path)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return ("library" if top in sys.stdlib_module_names or top in sys.modules else "missing"), None
        places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
        places = [os.path.realpath(place) for place in places]
        installed = any(place.startswith(folder) for place in places for folder in self._libraries)
        return ("library" if installed and top != self._own else "own"), spec


def _library_folders() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages(), "/usr/lib/python3/dist-packages"]
    return tuple({os.path.realpath(path) + os.sep for path in paths if path})


def _lines(node: ast.Import | ast.ImportFrom, path: str, package: str, sure: bool) -> Iterator[Line]:
    where = f"{os.path.basename(path)}:{node.lineno}"
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Line(alias.name, None, where, sure)
        return
    module = node.module or ""
    if node.level:
        parts = package.split(".") if package else []
        base = parts[: len(parts) - (node.level - 1)]
        if not base:
            return
        module = ".".join([*base, module] if module else base)
    for alias in node.names:
        yield Line(module, None if alias.name == "*" else alias.name, where, sure)


def _bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement, in their order."""
    if isinstance(node, ast.Match):
        yield from (case.body for case in node.cases)
        return
    for name in ("body", "handlers", "orelse", "finalbody"):
        block = getattr(node, name, [])
        if name == "handlers":
            yield from (handler.body for handler in block)
        elif block:
            yield block


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _is_environ(node: ast.AST) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) == "environ"


def _changes_environment(statement: ast.stmt) -> bool:
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and _is_environ(node.value):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("putenv", "unsetenv", "load_dotenv"):
                return True
            if name in _CHANGES and _is_environ(getattr(node.func, "value", node)):
                return True
    return False
