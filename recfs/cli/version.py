"""`recfs version`: what is installed here."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from recfs import __version__
from recfs.cli import options


@click.command()
@options.as_json
@options.verb
def version(json: bool) -> None:
    """Print the version of recfs and of what it stands on."""
    found = {
        "recfs": __version__,
        "python": platform.python_version(),
        "pyfuse3": metadata.version("pyfuse3"),
        "trio": metadata.version("trio"),
        "protobuf": metadata.version("protobuf"),
        "kernel": platform.release(),
    }
    if json:
        options.print_json(found)
    else:
        rest = ", ".join(f"{name} {text}" for name, text in found.items() if name != "recfs")
        options.print_text(f"recfs {__version__} ({rest})")
