"""What `harness init` writes: a commented YAML file, filled with the defaults of `harness.spec` itself."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import Problem, SpecError
from harness.spec import Columns, Evaluate, Slices, Spec, Split, Task
from harness.speccheck import NEEDS_POOL
from harness.specwords import at, describe
from harness.yamlfile import inline


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write `<folder>/<name>/<name>.yaml` and return the files written.

    The file loads as soon as the user's `examples.csv` lies beside it. Raises `SpecError` when the name
    cannot name a run, when the file exists already, or when the folder cannot be written.
    """
    allowed = at(("name",))
    if not re.fullmatch(allowed["pattern"], name):
        raise SpecError(name, [Problem("", f"{name!r} cannot name a task; write {describe(allowed)}, e.g. my-task")])
    path = folder / name / f"{name}.yaml"
    text = _render(name, path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        message = "exists already and is left as it is; choose another name, or move it away first"
        raise SpecError(str(error.filename or path), [Problem("", message)]) from error
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}. Choose another folder"
        raise SpecError(str(path), [Problem("", message)]) from error
    return [path]


def _render(name: str, file: str) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    environment.filters["yaml"] = inline
    template = environment.from_string(Path(__file__).with_name("template.yaml.j2").read_text(encoding="utf-8"))
    spec = Spec.model_construct()
    sections = {field: getattr(spec, field) for field, info in Spec.model_fields.items() if not info.is_required()}
    return template.render(
        {
            **sections,
            "name": name,
            "file": file,
            "task": Task.model_construct(),
            "columns": Columns(),
            "slices": Slices(),
            "split": Split(),
            "arms": [arm for arm in Evaluate().arms if arm not in NEEDS_POOL],
        }
    )
