"""`geobridge import-release`: the paper's weights as a checkpoint, without running their file."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "geobridge import-release best_net.pth paper-model --tokenizer clip-vit-large-patch14/"


def import_release(
    path: Annotated[Path, typer.Argument(help="The paper's best_net.pth, or a state dict of it.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the tokenizer of openai/clip-vit-large-patch14; without it the "
            "checkpoint embeds pictures but no text."
        ),
    ] = None,
) -> None:
    """Turn the paper's released weights into a checkpoint, without executing anything in them."""
    from geobridge.model.release import import_weights

    summary = import_weights(path, out, tokenizer)
    typer.echo(
        f"{summary.out}: {summary.kept_tensors} tensors, {summary.kept_mb:,.1f} MB. Dropped "
        f"{summary.dropped_tensors} tensors of towers that no modality uses, "
        f"{summary.dropped_mb:,.1f} MB less on disk and in memory."
    )
    if not summary.reads_text:
        typer.echo(
            "Text queries need CLIP's tokenizer: import again with --tokenizer FOLDER "
            "(tokenizer.json, or vocab.json and merges.txt)."
        )
