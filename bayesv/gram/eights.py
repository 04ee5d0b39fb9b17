"""Rows of eight numbers in vector instructions, which compilers do not find in loops so short."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["add_row"]

_EIGHT = ir.VectorType(ir.DoubleType(), 8)
_INT = ir.IntType(32)


@intrinsic
def add_row(typing, target, i, source, j, factor):
    """Add ``factor * source[j]`` to ``target[i]``; both arrays have shape (…, 8)."""
    signature = types.void(target, types.intp, source, types.intp, types.float64)

    def place(context, builder, type_, array, row):
        data = context.make_array(type_)(context, builder, array).data
        start = builder.gep(data, [builder.mul(row, ir.Constant(row.type, 8))])
        return builder.bitcast(start, _EIGHT.as_pointer())

    def build(context, builder, signature, arguments):
        target, i, source, j, factor = arguments
        to = place(context, builder, signature.args[0], target, i)
        of = place(context, builder, signature.args[2], source, j)
        first = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), factor, _INT(0))
        same = ir.Constant(ir.VectorType(_INT, 8), [0] * 8)
        factors = builder.shuffle_vector(first, ir.Constant(_EIGHT, ir.Undefined), same)
        old, added = builder.load(to, align=8), builder.load(of, align=8)
        product = builder.fmul(factors, added, flags=("contract",))
        builder.store(builder.fadd(old, product, flags=("contract",)), to, align=8)
        return context.get_dummy_value()

    return signature, build
