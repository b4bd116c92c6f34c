"""`geobridge`: finds the verb, runs it, and turns errors into one sentence and an exit code."""

import os
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from geobridge import __version__
from geobridge.errors import GeoBridgeError

# Threads that spin while they wait take the cores from the readers beside them: a forward pass
# cost three times as much on a busy machine. It counts only if set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Module and name of each verb: a function, or a typer app with verbs of its own.
_VERBS = {
    "index": ("geobridge.cli.index", "index"),
    "locate": ("geobridge.cli.locate", "locate"),
    "info": ("geobridge.cli.info", "info"),
    "train": ("geobridge.cli.train", "train"),
    "adapt": ("geobridge.cli.adapt", "adapt"),
    "evaluate": ("geobridge.cli.evaluate", "evaluate"),
    "compare": ("geobridge.cli.compare", "compare"),
    "curate": ("geobridge.cli.curate", "curate"),
    "data": ("geobridge.cli.data", "app"),
    "world": ("geobridge.cli.world", "app"),
    "import-release": ("geobridge.cli.import_release", "import_release"),
}

_LOOKS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": "rich",
    # A traceback is for whoever reports a bug: whole, and without the values of variables.
    "pretty_exceptions_enable": False,
}

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class VerbGroup(TyperGroup):
    """Loads a verb when it is asked for, and reports errors the way people can use."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Names of the verbs, in the order a newcomer needs them."""
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The verb of that name, or None."""
        if cmd_name not in _VERBS:
            return None
        return load_verb(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; bad input is one line on stderr and exit code 2, Ctrl-C is 130."""
        try:
            return super().invoke(ctx)
        except GeoBridgeError as error:
            typer.echo(f"geobridge: {error}", err=True)
            raise typer.Exit(EXIT_BAD_INPUT) from None
        except KeyboardInterrupt:
            typer.echo("geobridge: interrupted.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def load_verb(name: str) -> Any:
    """The command of a verb, with the `EXAMPLE` of its module below its help."""
    module_name, attribute = _VERBS[name]
    module = import_module(module_name)
    verb = getattr(module, attribute)
    if isinstance(verb, typer.Typer):
        group = typer.main.get_command(verb)
        group.name = name
        return group
    example = getattr(module, "EXAMPLE", None)
    single = typer.Typer(**_LOOKS)
    single.command(
        name,
        help=_unwrapped(verb.__doc__),
        epilog=f"Example: [b]{example}[/b]" if example else None,
    )(verb)
    return typer.main.get_command(single)


def _unwrapped(docstring: str) -> str:
    """A docstring whose paragraphs are one line each: the terminal decides where they break."""
    return "\n\n".join(" ".join(part.split()) for part in docstring.split("\n\n"))


app = typer.Typer(cls=VerbGroup, no_args_is_help=True, **_LOOKS)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"geobridge {__version__}")
        raise typer.Exit


@app.callback()
def _geobridge(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Find where a drone photo, a street picture, a satellite crop or a sentence was taken."""


def main() -> None:
    """Entry point of the `geobridge` command."""
    # Pillow warns at half the size we refuse: by name, since importing it would delay --help.
    warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
    app(prog_name="geobridge")


if __name__ == "__main__":
    main()
