"""Loops within loops: machine code is made once, of the loop that Python calls.

Numba makes machine code of every function, and once more of all that it has called: a loop four
calls deep passes the optimiser five times, though only the outermost is ever run by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

from bayesv.support.process import uninterrupted

__all__ = ["LinkedLoop"]


class LinkedLoop(CPUDispatcher):
    """A loop that is linked into those that call it, and compiled whole where Python calls it."""

    def __init__(self, function: Callable[..., Any], whole: Any, options: dict[str, Any]) -> None:
        alone = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions=options | alone, pipeline_class=_Linked)
        self.whole = whole

    @uninterrupted
    def __call__(self, *arguments: Any) -> Any:
        """Run the loop that was compiled whole."""
        return self.whole(*arguments)

    def add_overload(self, made: Any) -> None:
        """Take what was made for some types, to be linked only."""
        self.overloads[tuple(made.signature.args)] = made


class _Library(JITCodeLibrary):
    """Code that waits for the optimiser until the loop that it is linked into has all its parts."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    _name = "native_lowering"

    def run_pass(self, state: Any) -> bool:
        """Make code to be linked, under a key of its own."""
        name = state.func_id.func_qualname
        state.library = _Library(state.targetctx.codegen(), name)
        state.flags.no_compile = True
        super().run_pass(state)
        key = object()
        state.targetctx.insert_user_function(key, state.cr.fndesc, [state.library])
        state["cr"] = state.cr._replace(cfunc=key)
        return True


class _Linked(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        """Numba's passes but for the last, which would make machine code."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_Lowering if step is NativeLowering else step, description)
            for step, description in manager.passes
        ]
        manager.finalize()
        return [manager]
