"""The log posterior density at many points in one compiled pass, where covariances are free."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.lanes import forward_eight
from bayesv.priors.families import Form

__all__ = ["evaluate_chain"]

_LOG_2 = np.log(2.0)
UNIT, LOG, LINEAR, SQUARE, INVERSE_SQUARE, LOG1P, INNER = (
    Form._fields.index(name)
    for name in ("unit", "log", "linear", "square", "inverse_square", "log1p", "inner")
)


@compiled
def evaluate_chain(x, maps, law, beta, tables, sums, spans, width, values, likelihood, mean, root):
    """Fill log posterior densities and likelihoods, (S,), at points (S, d), and β's conditional.

    ``maps``, ``law`` and ``beta`` are those of `bayesv.inference.plain.Plain`. Outside of the
    limits, and where digits are lost, the density is 0. Of β come the mean and the root of the
    precision.
    """
    S, d = x.shape
    p = mean.shape[1]
    corner, m, size = width - p - 1, p + 1, maps.size
    lam, one, origin = np.empty((size, 8)), np.empty(size), np.zeros(d)
    front, logdet = np.empty((width * width, 8)), np.empty((1, 8))
    T = np.empty((m, m))
    prior, log_sigma = np.empty(8), np.empty(8)
    for first in range(0, S, 8):
        count = min(8, S - first)
        for w in range(8):
            if w < count:
                s = first + w
                inside = True
                for j in range(d):
                    inside = inside and maps.low[j] < x[s, j] < maps.high[j]
                point = x[s] if inside else origin
                log_sigma[w] = point[d - 1] + maps.log_scale if maps.has_sigma else 0.0
                prior[w] = _at(point, log_sigma[w], maps, law, one)
                if not inside:
                    prior[w] = -np.inf
            for i in range(size):
                lam[i, w] = one[i]
        logdet[:] = 0.0
        front[:] = 0.0
        for span in range(len(spans)):
            start, stop = spans[span]
            forward_eight(tables, sums, start, stop, lam, front, width, logdet, None)
        for w in range(count):
            s = first + w
            for i in range(m):
                for j in range(i, m):
                    T[i, j] = sums.C[i, j] + front[(corner + i) * width + corner + j, w]
            likelihood[s] = _of_beta(T, log_sigma[w], beta, mean[s], root[s]) - 0.5 * logdet[0, w]
            value = likelihood[s] + prior[w]
            values[s] = value if np.isfinite(value) else -np.inf


@compiled
def _at(x, log_sigma, maps, law, lam):
    """Fill λ of all terms, row by row; return the log prior density by coordinates."""
    value = law.constant
    if maps.has_sigma:
        value += log_sigma + _of_sd(law.forms[len(maps.sds)], np.exp(log_sigma))
    for j in range(len(law.powers)):
        if law.powers[j] != 0.0:
            z = abs(x[j])
            value += law.powers[j] * 2.0 * (_LOG_2 - z - np.log1p(np.exp(-2.0 * z)))
    k_max = maps.members.shape[1]
    D, stated = np.zeros((k_max, k_max)), np.empty(maps.size)
    for f in range(len(maps.terms)):
        first, k, start = maps.terms[f, 0], maps.terms[f, 1], maps.terms[f, 2]
        for i in range(k):
            row = first + i
            log_sd = x[maps.sds[row]] - maps.log_units[row]
            sd, left = np.exp(log_sd), 1.0
            for c in range(k):
                D[i, c] = 0.0
            for c in range(maps.depth[row]):
                partial = np.tanh(x[maps.corrs[row] + c])
                D[i, maps.members[row, c]] = sd * partial * np.sqrt(left)
                left *= (1.0 - partial) * (1.0 + partial)
            D[i, i] = sd * np.sqrt(left)
            value += log_sd + log_sigma
            if not law.other[f]:
                value += _of_sd(law.forms[row], np.exp(log_sd + log_sigma))
        _product(maps.back, start, D, k, lam)
        if law.other[f]:  # priors speak of other effects than coordinates
            _product(law.stated, start, D, k, stated)
            for i in range(k):
                row, norm = first + i, 0.0
                for c in range(k):
                    norm += stated[start + i * k + c] ** 2
                log_norm = 0.5 * np.log(norm)
                value += law.volume[row] * (x[maps.sds[row]] - maps.log_units[row] - log_norm)
                value += _of_sd(law.forms[row], np.exp(log_norm + log_sigma))
    return value


@compiled
def _product(matrices, start, D, k, out):
    """Fill the product of a k × k matrix, which starts at ``start``, with D, flat in its place."""
    for i in range(k):
        for c in range(k):
            total = 0.0
            for t in range(k):
                total += matrices[start + i * k + t] * D[t, c]
            out[start + i * k + c] = total


@compiled
def _of_sd(form, sd):
    """Return the log density of an SD without its constant; see `bayesv.priors.families.Form`."""
    x = sd / form[UNIT]
    value = 0.0
    if form[LOG] != 0.0:
        value += form[LOG] * np.log(x)
    if form[LINEAR] != 0.0:
        value += form[LINEAR] * x
    if form[SQUARE] != 0.0:
        value += form[SQUARE] * x * x
    if form[INVERSE_SQUARE] != 0.0:
        value += form[INVERSE_SQUARE] / (x * x)
    if form[LOG1P] != 0.0:
        value += form[LOG1P] * np.log1p(form[INNER] * x * x)
    return value


@compiled
def _of_beta(T, log_sigma, beta, mean, L):
    """Return the log likelihood but for log|M|; fill mean and root of the precision of β."""
    p = len(mean)
    precision = np.exp(-2.0 * log_sigma)
    product, logdet, explained = 1.0, 0.0, 0.0
    for j in range(p):
        for i in range(j, p):
            total = T[j, i] * precision + beta.precision[i, j]
            for t in range(j):
                total -= L[i, t] * L[j, t]
            if i == j:
                L[j, j] = np.sqrt(total)
                product *= total
            else:
                L[i, j] = total / L[j, j]
        for i in range(j):
            L[i, j] = 0.0
        if product > 1e200 or product < 1e-200:
            logdet += np.log(product)
            product = 1.0
    logdet += np.log(product)
    for i in range(p):
        total = T[i, p] * precision + beta.shift[i]
        for t in range(i):
            total -= L[i, t] * mean[t]
        mean[i] = total / L[i, i]
        explained += mean[i] ** 2
    for i in range(p - 1, -1, -1):
        for t in range(i + 1, p):
            mean[i] -= L[t, i] * mean[t]
        mean[i] /= L[i, i]
    squares = T[p, p]
    if not (squares > beta.least and np.isfinite(explained)):
        return np.nan
    value = beta.constant + 2.0 * beta.n * log_sigma + squares * precision
    return -0.5 * (value + logdet - explained)
