"""``bayesv completion SHELL``: what the Tab key knows of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

import bayesv.cli
from bayesv.cli.commands import COMMANDS
from bayesv.cli.options import add_command

__all__ = ["add"]

_FILES = ("FILE", "FIT", "DATA", "SMALLER", "LARGER", "POSTERIOR", "PAGE")  # fits may be folders


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "completion",
        "Print the completion of commands, options and files for a shell.",
        "  bayesv completion bash > ~/.local/share/bash-completion/completions/bayesv\n"
        "  bayesv completion zsh > ~/.zsh/completions/_bayesv    # a folder of $fpath",
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    parser = bayesv.cli.parser_of(COMMANDS)
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=arguments.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Return what a parser and those of its commands take."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
