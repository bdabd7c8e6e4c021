"""The commands `tpn models ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpn_engine.console import QuietOption, shown
from tpn_engine.errors import ModelError

if TYPE_CHECKING:
    from tpn_engine.checkpoints.terms import Terms

models = typer.Typer(no_args_is_help=True, help="The models: which there are, fetch, add, check and remove them.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A model's name.", show_default=False)]
AcceptOption = Annotated[bool, typer.Option("--accept-licence", help="You have read the licence and accept it.")]


@models.command("list")
def list_models() -> None:
    """List the models, whether they are here and under which licence."""
    from tpn_engine.checkpoints import catalog
    from tpn_engine.checkpoints.loss_weights import LOSS_WEIGHTS

    for entry in catalog():
        state = "present" if entry.present else "not here"
        typer.echo(f"{entry.name:16} {state:9} {entry.summary}. Licence: {entry.licence}")
    typer.echo("For losses and measures:")
    for weights in LOSS_WEIGHTS.values():
        typer.echo(f"{weights.name:16} {weights.state}. {weights.summary}. Licence: {weights.licence}")


@models.command("get")
def get(name: NameArgument, accept_licence: AcceptOption = False, quiet: QuietOption = False) -> None:
    """Fetch a model from its authors. What was interrupted goes on where it stopped."""
    from tpn_engine.checkpoints import manage
    from tpn_engine.checkpoints.catalog import find_entry

    entry = find_entry(name)
    if not (entry.present or quiet):
        for source in entry.sources:
            size = f", {source.size / 1e6:.0f} MB" if source.size else ""
            typer.echo(f"{source.file}{size}, from {source.page}", err=True)
    accepted = entry.present or _accepted(name, entry.terms, accept_licence)
    with shown(quiet) as progress:
        path = manage.get_model(name, accept_licence=accepted, progress=progress)
    if not quiet:
        typer.echo(f"{name} is ready: {path}")


@models.command("add")
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Files of one model: the authors' .pth, NVIDIA's .pkl, or one .safetensors; or those of losses.",
            show_default=False,
        ),
    ],
    accept_licence: AcceptOption = False,
    quiet: QuietOption = False,
) -> None:
    """Install files you have. Nothing in them is run; pickles are converted once."""
    from tpn_engine.checkpoints.add import addition

    with addition(files) as prepared:
        _accepted(prepared.name, prepared.terms, accept_licence)
        with shown(quiet) as progress:
            path = prepared.write(progress)
    if not quiet:
        typer.echo(f"Added to {path}. {lacks}." if (lacks := prepared.lacks()) else f"{prepared.name} is ready: {path}")


@models.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Which; all that are here by default.", show_default=False),
    ] = None,
) -> None:
    """Check the hash, keys, shapes and numbers of models and of what losses need."""
    from tpn_engine.checkpoints import catalog, manage
    from tpn_engine.checkpoints.loss_weights import LOSS_WEIGHTS

    wrong = 0
    for name in names or [entry.name for entry in (*catalog(), *LOSS_WEIGHTS.values()) if entry.present]:
        try:
            facts = manage.verify_model(name)
        except ModelError as error:
            if names and len(names) == 1:
                raise
            typer.echo(f"tpn: {error}", err=True)
            wrong += 1
            continue
        typer.echo(f"{name:16} whole     {facts}")
    if wrong:
        raise typer.Exit(1)


@models.command("remove")
def remove(name: NameArgument, quiet: QuietOption = False) -> None:
    """Delete a model of yours, and what interrupted downloads left of it."""
    from tpn_engine.checkpoints import manage

    manage.remove_model(name)
    if not quiet:
        typer.echo(f"{name} is removed.")


def _accepted(name: str, terms: Terms | None, given: bool) -> bool:
    """Show the licence, and ask where someone can answer; raises OptionError without an answer."""
    from tpn_engine.checkpoints.manage import check_accepted

    if terms is None:
        return True
    typer.echo(str(terms), err=True)
    if not given and sys.stdin.isatty():
        given = typer.confirm("Do you accept this?", err=True)
    check_accepted(name, terms, given)
    return True
