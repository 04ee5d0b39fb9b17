"""``bayesv completion SHELL``: what the Tab key knows of the command line."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

import bayesv.cli
from bayesv.cli.commands import COMMANDS
from bayesv.cli.options import add_command

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "completion",
        "Print the completion of commands and options for a shell.",
        "  bayesv completion bash > ~/.local/share/bash-completion/completions/bayesv\n"
        "  bayesv completion zsh > ~/.zsh/completions/_bayesv    # a folder of $fpath",
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    print(shtab.complete(bayesv.cli.parser_of(COMMANDS), shell=arguments.shell))
