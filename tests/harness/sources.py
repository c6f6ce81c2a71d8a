"""The files of the repository, for the tests of its structure and of its names."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "linkspan"


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """Returns the files with these suffixes below folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes]


def modules() -> list[Path]:
    """Returns the modules of Linkspan, without the database's versions, which describe the database as it was."""
    return [path for path in files("src") if "versions" not in path.parts]


@functools.cache
def parse(path: Path) -> ast.Module:
    """Returns the syntax tree of a file, which may declare another encoding than UTF-8."""
    return ast.parse(path.read_bytes())
