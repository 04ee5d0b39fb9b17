"""Rows of eight numbers in vector instructions, which compilers do not find in loops so short.

An ``Eight`` is eight numbers in registers: `load` and `store` move it from and to row i of an array
of shape (…, 8), `spread` fills it with one number; +, −, * and / are by element.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

__all__ = ["add_row", "all_below", "load", "root", "spread", "store"]

_EIGHT = ir.VectorType(ir.DoubleType(), 8)
_INT = ir.IntType(32)


class Eight(types.Type):
    """Eight numbers in registers."""

    def __init__(self):
        super().__init__(name="Eight")


_eight = Eight()


@register_default(Eight)
class _Registers(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _EIGHT)


def _row(context, builder, type_, array, row):
    """Return the address of a row."""
    data = context.make_array(type_)(context, builder, array).data
    start = builder.gep(data, [builder.mul(row, ir.Constant(row.type, 8))])
    return builder.bitcast(start, _EIGHT.as_pointer())


def _same(builder, number):
    """Return eight times the same number."""
    nothing = ir.Constant(_EIGHT, ir.Undefined)
    first = builder.insert_element(nothing, number, _INT(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, 8), [0] * 8))


@intrinsic
def load(typing, array, i):
    """Return row i of an array."""

    def build(context, builder, signature, arguments):
        place = _row(context, builder, signature.args[0], *arguments)
        return builder.load(place, align=8)

    return _eight(array, types.intp), build


@intrinsic
def store(typing, array, i, eight):
    """Write row i of an array."""

    def build(context, builder, signature, arguments):
        place = _row(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, _eight), build


@intrinsic
def spread(typing, number):
    """Return eight times the same number."""

    def build(context, builder, signature, arguments):
        return _same(builder, arguments[0])

    return _eight(types.float64), build


@intrinsic
def root(typing, eight):
    """Return square roots."""

    def build(context, builder, signature, arguments):
        kind = ir.FunctionType(_EIGHT, [_EIGHT])
        square_root = get_or_insert_function(builder.module, kind, "llvm.sqrt.v8f64")
        return builder.call(square_root, arguments)

    return _eight(_eight), build


@intrinsic
def all_below(typing, eight, limit):
    """Return whether all of them are below a limit; NaN is not."""

    def build(context, builder, signature, arguments):
        below = builder.fcmp_ordered("<", arguments[0], _same(builder, arguments[1]))
        bits = builder.bitcast(below, ir.IntType(8))
        return builder.icmp_unsigned("==", bits, ir.Constant(ir.IntType(8), 255))

    return types.boolean(_eight, types.float64), build


def _by_element(instruction):
    """Return the function of two Eights that an instruction computes."""

    @intrinsic
    def compute(typing, a, b):
        def build(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return _eight(_eight, _eight), build

    def chosen(a, b):
        if isinstance(a, Eight) and isinstance(b, Eight):
            return lambda a, b: compute(a, b)
        return None

    return chosen


overload(operator.add)(_by_element("fadd"))
overload(operator.sub)(_by_element("fsub"))
overload(operator.mul)(_by_element("fmul"))
overload(operator.truediv)(_by_element("fdiv"))


@intrinsic
def add_row(typing, target, i, source, j, factor):
    """Add ``factor * source[j]`` to ``target[i]``; both arrays have shape (…, 8)."""
    signature = types.void(target, types.intp, source, types.intp, types.float64)

    def build(context, builder, signature, arguments):
        target, i, source, j, factor = arguments
        to = _row(context, builder, signature.args[0], target, i)
        of = _row(context, builder, signature.args[2], source, j)
        old, added = builder.load(to, align=8), builder.load(of, align=8)
        product = builder.fmul(_same(builder, factor), added, flags=("contract",))
        builder.store(builder.fadd(old, product, flags=("contract",)), to, align=8)
        return context.get_dummy_value()

    return signature, build
