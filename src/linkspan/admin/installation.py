"""Writes and removes the files of `admin.units`.

The first line of each file has the digest of the rest: a file whose digest is another one was edited, and is neither
overwritten nor removed unless `force` says so. A changed version of a file that nobody edited is overwritten.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from linkspan.admin import units
from linkspan.admin.units import InstalledFile

_MARK: Final = "# Written by 'linkspan install'; to change it use a drop-in (systemctl edit). SHA-256 of the rest: "
_NEXT: Final = (
    "systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload",
    "systemctl enable --now {names}",
)


def command() -> click.Command:
    """Builds `linkspan install`."""
    return click.Command(
        "install",
        callback=_run,
        params=[
            click.Argument(["names"], nargs=-1, type=click.Choice(units.NAMES), metavar="[api] [agent]"),
            click.Option(["--dry-run"], is_flag=True, help="print the files and write nothing"),
            click.Option(["--remove"], is_flag=True, help="remove the files; settings and state stay"),
            click.Option(["--force"], is_flag=True, help="overwrite or remove also files that were edited"),
            click.Option(
                ["--credential", "credentials"],
                multiple=True,
                metavar="SETTING=FILE",
                help="a file that only root reads, which systemd hands to the service: "
                + ", ".join(name for names in units.CREDENTIALS.values() for name in names)
                + "; repeat for several",
            ),
            click.Option(
                ["--root"],
                type=click.Path(path_type=Path, file_okay=False),
                default="/",
                metavar="DIR",
                help="root of the files, for an image or a package (default /)",
            ),
        ],
        help="Write the systemd units of the API and the agent (default: both), with a user for the API. Files that "
        "were edited are not overwritten. Says how to start the services; starts nothing.",
        short_help="Write systemd units for the API and the agent.",
    )


def _run(
    names: Sequence[str], dry_run: bool, remove: bool, force: bool, credentials: Sequence[str], root: Path
) -> None:
    chosen = list(dict.fromkeys(names)) or list(units.NAMES)
    files = units.files(chosen, program(), program_folders(), _parse(credentials))
    if dry_run:
        for file in files:
            click.echo(f"# {file.path}\n{file.text}")
        return
    change = uninstall if remove else install
    for line in change([file for file in files if not remove or not _is_shared(file, chosen)], root, force):
        click.echo(line)
    services = " ".join(f"linkspan-{name}" for name in chosen)
    if remove:
        click.echo(f"now: systemctl disable --now {services}; systemctl daemon-reload")
        return
    click.echo("now: " + "; ".join(step.format(names=services) for step in _NEXT))


def _parse(credentials: Sequence[str]) -> Mapping[str, str]:
    known = {name for names in units.CREDENTIALS.values() for name in names}
    pairs = dict(text.partition("=")[::2] for text in credentials)
    for setting, file in pairs.items():
        if setting not in known:
            raise click.BadParameter(f"'{setting}' is none of {', '.join(sorted(known))}", param_hint="--credential")
        if not Path(file).is_absolute() or "\n" in file:
            raise click.BadParameter(f"'{file}' is not an absolute path", param_hint="--credential")
    return pairs


def program() -> list[str]:
    """Returns the command that runs this program."""
    return [sys.executable, "-m", "linkspan.bootstrap"]


def program_folders() -> list[str]:
    """Returns the folders that this program is in: its packages, the environment, Python itself."""
    import linkspan

    package = Path(linkspan.__file__).resolve().parents[1]
    return [str(package), sys.prefix, sys.base_prefix]


def install(files: Iterable[InstalledFile], root: Path, force: bool = False) -> list[str]:
    """Writes the files; returns a line for each one. Raises ClickException, before it writes any, if one was edited."""
    files = list(files)
    edited = [file for file in files if not file.kept and _is_edited(_place(root, file))]
    if edited and not force:
        raise click.ClickException(_refusal("overwritten", edited))
    return [f"{_write(file, _place(root, file))}  {file.path}" for file in files]


def uninstall(files: Iterable[InstalledFile], root: Path, force: bool = False) -> list[str]:
    """Removes the files but those that are kept; returns a line for each one. Raises ClickException as `install`."""
    present = [file for file in files if _place(root, file).exists()]
    edited = [file for file in present if not file.kept and _is_edited(_place(root, file))]
    if edited and not force:
        raise click.ClickException(_refusal("removed", edited))
    lines = []
    for file in present:
        if not file.kept:
            _place(root, file).unlink()
        lines.append(f"{'kept' if file.kept else 'removed'}  {file.path}")
    return lines


def _is_shared(file: InstalledFile, chosen: Sequence[str]) -> bool:
    """True if a file belongs to both units, and only one of them is removed."""
    return len(chosen) == 1 and not file.kept and f"linkspan-{chosen[0]}" not in file.path


def _refusal(what: str, edited: Sequence[InstalledFile]) -> str:
    return (
        f"not {what}, because edited: {', '.join(file.path for file in edited)}: put your lines into a drop-in with "
        "'systemctl edit', or give --force"
    )


def _place(root: Path, file: InstalledFile) -> Path:
    return root / file.path.lstrip("/")


def _marked(file: InstalledFile) -> str:
    return file.text if file.kept else f"{_MARK}{_digest(file.text)}\n{file.text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_edited(path: Path) -> bool:
    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True
    return first != _MARK + _digest(rest)


def _write(file: InstalledFile, path: Path) -> str:
    text = _marked(file)
    if path.exists() and (file.kept or path.read_bytes() == text.encode()):
        return "unchanged"
    # The command line's own umask is for secrets; these files and folders are for everybody, unless they say otherwise.
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir()
        folder.chmod(0o755)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        os.fchmod(descriptor, file.mode)
        output.write(text)
    was = path.exists()
    draft.replace(path)
    return "updated" if was else "created"
