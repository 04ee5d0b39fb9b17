#!/usr/bin/env Rscript
# Makes the additional lme4 reference fits: one CSV per data set, one JSON per fit.
#
# Run:       Rscript make_references.R OUTDIR
# Made with: R 4.2.2 Patched (2022-11-10 r83330), lme4 1.1-31, Matrix 1.5-3, minqa 1.2.5, nloptr 2.0.3, numDeriv 2016.8.1.1, pbkrtest 0.5.2,
#            nlme 3.1-162 (Machines), splines (base R), jsonlite 1.8.4. Debian bookworm. Each JSON repeats this in "made_with".
# Provenance: machines = nlme::Machines (Milliken & Johnson 1992, p. 285); pastes = lme4::Pastes (Davies & Goldsmith 1972). Both packages are
#            GPL (>= 2). Every other data set is simulated below from a fixed seed: numbers of no study.
#
# Every model is fitted to the CSV as read back, never to the data frame in memory, so JSON and CSV cannot disagree.
# The JSON fields are those of make_reference.R (the first set); added here: "made_with", "optimum" (how well the optimum is known),
# "dropped" (aliased columns of X). G is labelled as in VarCorr, with two exceptions: see blocks_of().

suppressMessages({library(lme4); library(Matrix); library(jsonlite); library(splines)})
outdir <- commandArgs(TRUE)[1]
if (is.na(outdir)) stop("usage: Rscript make_references.R OUTDIR")
dir.create(outdir, showWarnings = FALSE, recursive = TRUE)
packages <- c("lme4", "Matrix", "minqa", "nloptr", "numDeriv", "pbkrtest", "nlme", "jsonlite")
MADE_WITH <- c(list(R = R.version.string), lapply(setNames(packages, packages), function(p) as.character(packageVersion(p))))

# ---------------------------------------------------------------- data: write, read back

levels_of <- list()          # file -> column -> levels, because a CSV loses the order

freeze <- function(data, name) {
  file <- paste0(name, ".csv")
  data <- as.data.frame(lapply(data, function(col) if (is.character(col)) factor(col) else col))
  write.csv(data, file.path(outdir, file), row.names = FALSE)
  levels_of[[file]] <<- lapply(Filter(is.factor, data), levels)
  invisible(file)
}

thaw <- function(file) {
  data <- read.csv(file.path(outdir, file))
  for (col in names(levels_of[[file]])) data[[col]] <- factor(as.character(data[[col]]), levels = levels_of[[file]][[col]])
  data
}

# ---------------------------------------------------------------- the optimum, tightly

# The criterion as a function of theta, minimised with BOBYQA (minqa, rhoend 2e-9) from several starts, with NLopt's BOBYQA and nlminb
# from the best one, then Newton steps on the free parameters. Diagonal parameters are set to exactly 0 where that is no worse.
optimum <- function(devfun, theta0) {
  lower <- environment(devfun)$lower
  diagonal <- lower == 0
  f <- function(theta) as.numeric(devfun(pmax(theta, lower)))
  random_start <- function() ifelse(diagonal, runif(length(theta0), 0.1, 1.5), runif(length(theta0), -0.5, 0.5))
  starts <- c(list(theta0, 0.3 * theta0), replicate(4, random_start(), simplify = FALSE))
  run <- function(s) minqa::bobyqa(s, f, lower = lower, control = list(rhobeg = 2e-2, rhoend = 2e-9, maxfun = 1e5))
  runs <- suppressWarnings(lapply(starts, run))
  best <- runs[[which.min(vapply(runs, `[[`, 0, "fval"))]]$par
  rivals <- list(
    best,
    nloptr::nloptr(best, f, lb = lower, opts = list(algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-12, xtol_rel = 0, ftol_abs = 0, ftol_rel = 0, maxeval = 5000))$solution,
    nlminb(best, f, lower = lower, control = list(abs.tol = 0, rel.tol = 1e-15, x.tol = 1e-12))$par)
  theta <- rivals[[which.min(vapply(rivals, f, 0))]]
  for (i in which(diagonal & theta < 1e-4)) {
    zero <- replace(theta, i, 0)
    if (f(zero) <= f(theta) + 1e-11) theta <- zero
  }
  free <- !(diagonal & theta == 0)
  g <- function(part) f(replace(theta, free, part))
  # near the optimum the criterion is flat to rounding; its gradient still tells better from worse
  derivatives <- function(part) {
    gradient <- numDeriv::grad(g, part); hessian <- numDeriv::hessian(g, part)
    list(gradient = gradient, hessian = hessian, step = drop(solve(hessian, gradient)))
  }
  at <- derivatives(theta[free])
  for (pass in 1:4) {
    proposal <- theta[free] - at$step
    if (any(proposal < lower[free]) || g(proposal) > g(theta[free]) + 1e-10) break
    there <- derivatives(proposal)
    if (sum(there$gradient * there$step) >= sum(at$gradient * at$step)) break
    theta[free] <- proposal; at <- there
  }
  at_zero <- which(!free)
  rise <- vapply(at_zero, function(i) (f(replace(theta, i, 1e-3)) - f(theta)) / 1e-6, 0)   # d criterion / d theta^2: > 0 at a true boundary optimum
  found <- vapply(runs, `[[`, 0, "fval")
  list(theta = theta, summary = list(
    theta = theta, criterion_by_start = found, worst_start_minus_best = max(found) - f(theta),
    free_gradient = max(abs(at$gradient)), newton_decrement = sum(at$gradient * at$step) / 2,   # estimate of criterion - minimum
    hessian_min_eigenvalue = min(eigen(at$hessian, symmetric = TRUE)$values),
    parameters_at_zero = length(at_zero), rise_in_theta_squared = as.list(rise)))
}

fit_tightly <- function(formula, data, reml, weights) {
  w <- if (is.null(weights)) NULL else as.name(weights)
  set.seed(1)
  parts <- suppressMessages(eval(bquote(lFormula(formula, data, REML = .(reml), weights = .(w)))))
  best <- optimum(do.call(mkLmerDevfun, parts), parts$reTrms$theta)
  control <- lmerControl(optimizer = NULL, calc.derivs = TRUE)      # evaluate at start, check derivatives, do not optimise
  model <- suppressMessages(eval(bquote(lmer(formula, data, REML = .(reml), weights = .(w), start = best$theta, control = control))))
  best$summary$lme4_messages <- as.list(setdiff(unlist(model@optinfo$conv$lme4$messages), "boundary (singular) fit: see help('isSingular')"))
  list(model = model, summary = best$summary)
}

# ---------------------------------------------------------------- one fit -> one JSON

marginal_covariance <- function(model) {
  ZL <- crossprod(getME(model, "Zt"), getME(model, "Lambda"))       # Z Lambda
  V <- sigma(model)^2 * (tcrossprod(ZL) + Diagonal(x = 1 / weights(model)))
  drop0(as(as(V, "generalMatrix"), "CsparseMatrix"))
}

# Labels are those of VarCorr with two exceptions, made so that check_references.py and its readers understand them:
# - lme4 calls the innermost factor of (x | a/b/c) "c:(b:a)"; the brackets are left out here: "c:b:a".
# - lme4 splits (x1 + x2 || g) into terms g, g.1, g.2. The check strips ".1" and nothing else, so a factor with three or more split terms
#   is written as one diagonal block under its plain name. With two split terms the labels stay g and g.1.
# Where a label differs, the JSON has the original ones in "G_labels_lme4".
no_brackets <- function(label) gsub("[()]", "", label)

blocks_of <- function(model) {
  vc <- VarCorr(model)
  flist <- getME(model, "flist")
  factor_of <- names(flist)[attr(flist, "assign")]                             # the factor of each term
  blocks <- list()
  for (i in seq_along(vc)) {
    label <- no_brackets(if (sum(factor_of == factor_of[i]) > 2) factor_of[i] else names(vc)[i])
    block <- list(coef = rownames(vc[[i]]), cov = matrix(as.numeric(vc[[i]]), nrow(vc[[i]])))
    old <- blocks[[label]]
    blocks[[label]] <- if (is.null(old)) block else list(coef = c(old$coef, block$coef), cov = as.matrix(bdiag(old$cov, block$cov)))
  }
  blocks
}

kenward_roger <- function(model) {
  adjusted <- suppressMessages(as.matrix(pbkrtest::vcovAdj(model)))
  unit <- diag(length(fixef(model)))
  ddf <- lapply(seq_len(nrow(unit)), function(i) pbkrtest::get_Lb_ddf(model, unit[i, ]))
  list(vcov = unname(adjusted), ddf = setNames(ddf, names(fixef(model))))
}

reference <- function(id, formula, file, reml = TRUE, weights = NULL) {
  data <- thaw(file)
  f <- as.formula(formula)
  fit <- fit_tightly(f, data, reml, weights)
  m <- fit$model
  V <- marginal_covariance(m)
  logdet <- as.numeric(determinant(Cholesky(forceSymmetric(V)), sqrt = TRUE)$modulus) * 2
  ref <- list(
    id = id, formula = formula, data = file, reml = reml, weights = weights, nobs = nobs(m),
    criterion = as.numeric(if (reml) REMLcrit(m) else deviance(m)), logLik = as.numeric(logLik(m)),
    singular = isSingular(m), sigma2 = sigma(m)^2, G = blocks_of(m),
    fixef = as.list(fixef(m)), vcov_beta = unname(as.matrix(vcov(m))),
    ngroups = setNames(as.list(ngrps(m)), no_brackets(names(ngrps(m)))), Z_shape = rev(dim(getME(m, "Zt"))),
    V = list(trace = sum(diag(V)), logdet = logdet, nnz = length(V@x), first6 = unname(as.matrix(V[1:6, 1:6])), frobenius = sqrt(sum(V^2))))
  if (!identical(names(ref$G), names(VarCorr(m)))) ref$G_labels_lme4 <- names(VarCorr(m))
  ref$ranef <- lapply(ranef(m, condVar = FALSE), function(r) list(level = head(rownames(r), 5), value = unname(as.matrix(head(r, 5)))))
  names(ref$ranef) <- no_brackets(names(ref$ranef))
  if (reml && is.null(weights)) {                                    # pbkrtest ignores weights silently
    kr <- kenward_roger(m)
    ref$vcov_beta_kr <- kr$vcov
    ref$ddf_kr <- kr$ddf
  }
  used <- Filter(function(l) length(l) <= 20, levels_of[[file]][intersect(all.vars(f), names(levels_of[[file]]))])
  if (length(used)) ref$levels <- used
  dropped <- attr(getME(m, "X"), "col.dropped")
  if (length(dropped)) ref$dropped <- as.list(names(dropped))
  ref$optimum <- fit$summary
  ref$made_with <- MADE_WITH
  write_json(ref, file.path(outdir, paste0(id, ".json")), digits = NA, auto_unbox = TRUE, pretty = TRUE, null = "null")
  cat(sprintf("%-28s n %4d  criterion %18.10f  singular %-5s  min eig(H) %9.2e  decrement %8.1e  starts spread %8.1e %s\n", id, ref$nobs, ref$criterion, ref$singular,
              fit$summary$hessian_min_eigenvalue, fit$summary$newton_decrement, fit$summary$worst_start_minus_best, paste(unlist(fit$summary$lme4_messages), collapse = "; ")))
}

# ---------------------------------------------------------------- small tools for simulation

labels <- function(prefix, k) paste0(prefix, seq_len(k))
effects <- function(levels, ..., corr = NULL) {          # one row per level; ... are standard deviations
  sd <- c(...)
  R <- if (is.null(corr)) diag(length(sd)) else corr
  u <- matrix(rnorm(length(levels) * length(sd)), length(levels)) %*% chol(R) %*% diag(sd, length(sd))
  rownames(u) <- levels
  u
}
corr2 <- function(r) matrix(c(1, r, r, 1), 2)
shuffled <- function(d) d[sample(nrow(d)), , drop = FALSE]
sizes_to_factor <- function(levels, sizes) factor(rep(levels, sizes), levels = levels)
grouped_line <- function(groups, sizes, sd0, sd1, r, sigma, xsd = 1) {   # y = 10 + 2x + u0 + u1 x + e
  g <- sizes_to_factor(groups, sizes)
  u <- effects(groups, sd0, sd1, corr = corr2(r))
  x <- round(rnorm(length(g), 0, xsd), 3)
  data.frame(y = round(10 + 2 * x + u[g, 1] + u[g, 2] * x + rnorm(length(g), 0, sigma), 4), x, g)
}

# ---------------------------------------------------------------- the cases

## 1, 2: machines. Categorical random effects; the same data with the interaction as a grouping factor.
machines <- as.data.frame(nlme::Machines)
machines$Worker <- factor(as.character(machines$Worker), levels = levels(machines$Worker))
freeze(machines, "machines")
reference("machines_categorical", "score ~ Machine + (Machine | Worker)", "machines.csv")
reference("machines_categorical_ml", "score ~ Machine + (Machine | Worker)", "machines.csv", reml = FALSE)
reference("machines_nocorr_intercept", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines.csv")

## 3: pastes. The cask labels a, b, c are reused in every batch.
freeze(lme4::Pastes, "pastes")
reference("pastes_nested", "strength ~ 1 + (1 | batch/cask)", "pastes.csv")

## 4: three nested levels with slopes, unbalanced, shuffled; s1, s2, ... and c1, c2, ... are reused under every parent.
set.seed(404)
nested <- do.call(rbind, lapply(labels("d", 16), function(d) do.call(rbind, lapply(labels("s", sample(3:5, 1)), function(s)
  do.call(rbind, lapply(labels("c", sample(2:4, 1)), function(c) data.frame(dist.nr = d, sch.cl = s, tch.cl = c, pupil = seq_len(sample(3:8, 1)))))))))
nested$pupil <- NULL
path2 <- with(nested, paste(dist.nr, sch.cl)); path3 <- with(nested, paste(dist.nr, sch.cl, tch.cl))
u1 <- effects(unique(nested$dist.nr), 2.0, 1.0, corr = corr2(0.4))
u2 <- effects(unique(path2), 1.5, 0.9, corr = corr2(-0.3))
u3 <- effects(unique(path3), 1.2, 0.8, corr = corr2(0.2))
nested$x <- round(rnorm(nrow(nested)), 3)
nested$z <- round(runif(nrow(nested), 0, 4), 2)
nested$y <- with(nested, round(20 + 1.5 * x - 0.7 * z + u1[dist.nr, 1] + u2[path2, 1] + u3[path3, 1] + (u1[dist.nr, 2] + u2[path2, 2] + u3[path3, 2]) * x + rnorm(nrow(nested)), 4))
freeze(shuffled(nested), "nested_three")
reference("nested_slopes_three", "y ~ x + z + (x | dist.nr/sch.cl/tch.cl)", "nested_three.csv")
reference("nested_slopes_three_colon", "y ~ x + z + (x | dist.nr) + (x | dist.nr:sch.cl) + (x | dist.nr:sch.cl:tch.cl)", "nested_three.csv")
reference("nested_slopes_three_ml", "y ~ x + z + (x | dist.nr/sch.cl/tch.cl)", "nested_three.csv", reml = FALSE)

## 5: three correlated slopes, forty unbalanced groups.
set.seed(505)
groups <- labels("g", 40)
g <- sizes_to_factor(groups, sample(8:22, 40, replace = TRUE))
R4 <- matrix(c(1, .3, -.2, .1,  .3, 1, .25, 0,  -.2, .25, 1, -.3,  .1, 0, -.3, 1), 4)
u <- effects(groups, 2, 1.2, 0.9, 0.7, corr = R4)
x <- round(matrix(rnorm(3 * length(g)), ncol = 3), 3)
slopes3 <- data.frame(y = round(5 + x %*% c(1, -0.5, 0.3) + u[g, 1] + rowSums(u[g, -1] * x) + rnorm(length(g)), 4), x1 = x[, 1], x2 = x[, 2], x3 = x[, 3], g)
freeze(shuffled(slopes3), "three_slopes")
reference("three_slopes", "y ~ x1 + x2 + x3 + (x1 + x2 + x3 | g)", "three_slopes.csv")
reference("three_slopes_ml", "y ~ x1 + x2 + x3 + (x1 + x2 + x3 | g)", "three_slopes.csv", reml = FALSE)

## 6: crossed subjects and items, incomplete, with a subject slope.
set.seed(606)
crossed <- expand.grid(subj = factor(labels("S", 30), labels("S", 30)), item = factor(labels("i", 25), labels("i", 25)))
crossed <- crossed[runif(nrow(crossed)) < plogis(rnorm(30))[crossed$subj], ]
us <- effects(levels(crossed$subj), 40, 15, corr = corr2(0.5)); ui <- effects(levels(crossed$item), 25)
crossed$x <- sample(c(-0.5, 0.5), nrow(crossed), replace = TRUE)
crossed$y <- round(600 + 30 * crossed$x + us[crossed$subj, 1] + us[crossed$subj, 2] * crossed$x + ui[crossed$item, 1] + rnorm(nrow(crossed), 0, 30), 2)
crossed$x <- crossed$x + round(rnorm(nrow(crossed), 0, 0.2), 3)
freeze(shuffled(crossed[c("y", "x", "subj", "item")]), "crossed_subjects_items")
reference("crossed_slopes", "y ~ x + (x | subj) + (1 | item)", "crossed_subjects_items.csv")
reference("crossed_slopes_ml", "y ~ x + (x | subj) + (1 | item)", "crossed_subjects_items.csv", reml = FALSE)

## 7: three crossed factors, the third an interaction of two columns with empty cells.
set.seed(707)
n <- 360
pick <- function(prefix, k, n) factor(sample(labels(prefix, k), n, replace = TRUE), levels = labels(prefix, k))
three <- data.frame(a = pick("a", 9, n), b = pick("b", 14, n), c = pick("c", 5, n), d = pick("d", 7, n))
three <- three[!(three$c == "c2" & three$d %in% c("d1", "d5")) & !(three$c == "c5" & three$d == "d7"), ]
cd <- with(three, paste(c, d))
three$y <- round(50 + effects(levels(three$a), 3)[three$a, ] + effects(levels(three$b), 2)[three$b, ] + effects(unique(cd), 2.5)[cd, ] + rnorm(nrow(three), 0, 2), 4)
freeze(three, "crossed_three")
reference("crossed_three", "y ~ 1 + (1 | a) + (1 | b) + (1 | c:d)", "crossed_three.csv")

## 8: variance weights: REML, ML, and crossed.
set.seed(808)
groups <- labels("g", 28)
weighted <- grouped_line(groups, sample(4:14, 28, replace = TRUE), 2, 1, -0.3, 0)
weighted$w <- round(exp(rnorm(nrow(weighted), 0, 0.8)), 2) + 0.05
weighted$y <- round(weighted$y + rnorm(nrow(weighted), 0, 1.5 / sqrt(weighted$w)), 4)
freeze(shuffled(weighted), "weighted")
reference("weighted_slopes", "y ~ x + (x | g)", "weighted.csv", weights = "w")
reference("weighted_slopes_ml", "y ~ x + (x | g)", "weighted.csv", reml = FALSE, weights = "w")
set.seed(809)
wc <- data.frame(a = pick("a", 12, 260), b = pick("b", 15, 260), x = round(rnorm(260), 3), w = sample(c(0.5, 1, 2, 4), 260, replace = TRUE))
wc$y <- round(3 + 0.8 * wc$x + effects(levels(wc$a), 1.2)[wc$a, ] + effects(levels(wc$b), 0.9)[wc$b, ] + rnorm(260, 0, 1 / sqrt(wc$w)), 4)
freeze(wc, "weighted_crossed")
reference("weighted_crossed", "y ~ x + (1 | a) + (1 | b)", "weighted_crossed.csv", weights = "w")

## 9: two independent terms of one factor, written out.
set.seed(909)
freeze(shuffled(grouped_line(labels("g", 24), sample(5:12, 24, replace = TRUE), 2, 1.2, 0, 1)), "shared_factor")
reference("shared_factor", "y ~ x + (1 | g) + (0 + x | g)", "shared_factor.csv")

## 10: the double bar with three terms (lme4: g, g.1, g.2) and with two slopes and no intercept (g, g.1).
set.seed(1010)
groups <- labels("g", 26)
g <- sizes_to_factor(groups, sample(6:14, 26, replace = TRUE))
u <- effects(groups, 1.5, 0.8, 0.6)
bar <- data.frame(x1 = round(rnorm(length(g)), 3), x2 = round(runif(length(g), -2, 2), 3), g)
bar$y <- with(bar, round(4 + x1 - 0.5 * x2 + 0.4 * x1 * x2 + u[g, 1] + u[g, 2] * x1 + u[g, 3] * x2 + rnorm(length(g)), 4))
freeze(shuffled(bar), "double_bar")
reference("double_bar_two", "y ~ x1*x2 + (x1 + x2 || g)", "double_bar.csv")
reference("double_bar_no_intercept", "y ~ x1*x2 + (0 + x1 + x2 || g)", "double_bar.csv")

## 11, 12, 13: a curve per group: I(x^2), poly() in the fixed and in the random part, a B-spline.
set.seed(1111)
groups <- labels("g", 30)
g <- sizes_to_factor(groups, sample(7:16, 30, replace = TRUE))
u <- effects(groups, 1.5, 1.0, 0.8, corr = matrix(c(1, .3, -.4, .3, 1, .1, -.4, .1, 1), 3))
x <- round(runif(length(g), -2, 2), 3)
curves <- data.frame(y = round(8 + 1.2 * x - 0.6 * x^2 + u[g, 1] + u[g, 2] * x + u[g, 3] * x^2 + rnorm(length(g)), 4), x, g)
freeze(shuffled(curves), "curves")
reference("quadratic", "y ~ x + I(x^2) + (x + I(x^2) | g)", "curves.csv")
reference("poly_fixed", "y ~ poly(x, 2) + (1 | g)", "curves.csv")
reference("poly_random", "y ~ poly(x, 2) + (poly(x, 2) | g)", "curves.csv")
reference("bs_fixed", "y ~ bs(x, df = 4) + (1 | g)", "curves.csv")

## 14: factors whose level order is not alphabetical, and a slope per level without the common slope.
## The same model twice: R calls the interaction f:x however it is written.
set.seed(1414)
groups <- labels("g", 22)
g <- sizes_to_factor(groups, sample(8:14, 22, replace = TRUE))
f <- factor(sample(c("mid", "low", "top"), length(g), replace = TRUE), levels = c("mid", "low", "top"))
h <- factor(sample(c("west", "east"), length(g), replace = TRUE), levels = c("west", "east"))
x <- round(rnorm(length(g)), 3)
cells <- data.frame(y = round(c(mid = 2, low = 0, top = 5)[f] + c(west = 0, east = 1)[h] + (f == "top" & h == "east") + c(mid = .5, low = 1, top = -.4)[f] * x
                              + effects(groups, 1.2)[g, ] + rnorm(length(g)), 4), f, h, x, g)
freeze(shuffled(cells), "cells")
reference("interaction_categorical", "y ~ f * h + x:f + (1 | g)", "cells.csv")
reference("interaction_categorical_fx", "y ~ f * h + f:x + (1 | g)", "cells.csv")

## 15: an offset.
set.seed(1515)
off <- grouped_line(labels("g", 20), sample(5:15, 20, replace = TRUE), 2, 1, 0.4, 1)
off$o <- round(rnorm(nrow(off), 3, 2), 3)
off$y <- round(off$y + off$o, 4)
freeze(shuffled(off), "offset")
reference("offset", "y ~ x + offset(o) + (x | g)", "offset.csv")

## 16: no intercept, fixed or random.
set.seed(1616)
groups <- labels("g", 25)
none <- data.frame(g = sizes_to_factor(groups, sample(4:10, 25, replace = TRUE)))
none$f <- factor(sample(c("ctl", "high", "base"), nrow(none), replace = TRUE), levels = c("ctl", "high", "base"))
none$x <- round(runif(nrow(none), 0, 3), 3)
none$y <- round(c(ctl = 1, high = 3, base = 2)[none$f] + (0.7 + effects(groups, 0.8)[none$g, ]) * none$x + rnorm(nrow(none)), 4)
freeze(shuffled(none), "no_intercept")
reference("no_intercept_slope", "y ~ 0 + f + x + (0 + x | g)", "no_intercept.csv")

## 17: names that are names in R only.
set.seed(1717)
r <- do.call(rbind, lapply(labels("sch", 26), function(s) do.call(rbind, lapply(seq_len(sample(3:6, 1)), function(k)
  data.frame(school.id = s, class.id = k, pupil = seq_len(sample(3:8, 1)))))))
path <- with(r, paste(school.id, class.id))
us <- effects(unique(r$school.id), 2, 1, corr = corr2(0.3)); uc <- effects(unique(path), 1.5, 0.8, corr = corr2(-0.2))
r$class.id <- factor(r$class.id)
r$x.1 <- round(rnorm(nrow(r)), 3)
r$x.2 <- round(rexp(nrow(r), 0.2), 2) + 0.1
r$my.score <- with(r, round(30 + 2 * x.1 + 1.5 * log(x.2) + us[school.id, 1] + uc[path, 1] + (us[school.id, 2] + uc[path, 2]) * x.1 + rnorm(nrow(r)), 3))
freeze(shuffled(r[c("my.score", "x.1", "x.2", "school.id", "class.id")]), "r_names")
reference("r_names", "my.score ~ x.1 + log(x.2) + (x.1 | school.id/class.id)", "r_names.csv")

## 18: missing values in y, x and g; one group (g07) loses all its rows. At most 20 groups, so that "levels" is written
## and check_references.py reads a missing group as missing.
set.seed(1818)
gaps <- shuffled(grouped_line(sprintf("g%02d", 1:18), sample(6:12, 18, replace = TRUE), 2, 1, 0.2, 1))
at <- sample(nrow(gaps), 24)
gaps$y[at[1:9]] <- NA; gaps$x[at[8:17]] <- NA; gaps$g[at[18:24]] <- NA
freeze(gaps, "missing")
reference("missing_rows", "y ~ x + (x | g)", "missing.csv")
gaps$y[which(gaps$g == "g07")] <- NA
freeze(gaps, "missing_level")
reference("missing_rows_lost_level", "y ~ x + (x | g)", "missing_level.csv")

## 19: rank-deficient X: an aliased covariate; an empty cell away from the reference level (a zero column); an empty cell at the
## reference level (a dependent column). lme4 drops the later column of each dependency.
set.seed(1919)
groups <- labels("g", 20)
alias <- data.frame(g = sizes_to_factor(groups, sample(8:13, 20, replace = TRUE)))
alias$f <- factor(sample(c("p", "q", "r"), nrow(alias), replace = TRUE)); alias$h <- factor(sample(c("u", "v", "w"), nrow(alias), replace = TRUE))
alias$x <- round(rnorm(nrow(alias)), 3); alias$x2 <- 2 * alias$x
alias$y <- round(1 + 0.5 * alias$x + as.integer(alias$f) + 0.5 * as.integer(alias$h) + effects(groups, 1)[alias$g, ] + rnorm(nrow(alias)), 4)
alias <- shuffled(alias)
freeze(alias[!(alias$f == "r" & alias$h == "v"), ], "rank_deficient")
freeze(alias[!(alias$f == "p" & alias$h == "v"), ], "rank_deficient_first_cell")
reference("rank_deficient_covariate", "y ~ x + x2 + (1 | g)", "rank_deficient.csv")
reference("rank_deficient_cell", "y ~ x + x2 + f * h + (1 | g)", "rank_deficient.csv")
reference("rank_deficient_first_cell", "y ~ x + x2 + f * h + (1 | g)", "rank_deficient_first_cell.csv")

## 20: nested, the estimate of the upper variance exactly 0 (the effects of b are centred within a).
set.seed(2020)
zero <- expand.grid(rep = 1:4, b = labels("b", 5), a = labels("a", 9), stringsAsFactors = FALSE)
zero <- zero[runif(nrow(zero)) < 0.85, ]
path <- with(zero, paste(a, b)); ub <- effects(unique(path), 2)[, 1]
ub <- ub - ave(ub, sub(" .*", "", names(ub)))
zero$y <- round(15 + ub[path] + rnorm(nrow(zero), 0, 1.5), 4)
freeze(zero[c("y", "a", "b")], "zero_variance_nested")
reference("zero_variance_nested", "y ~ 1 + (1 | a/b)", "zero_variance_nested.csv")

## 21: correlation exactly 1 at the optimum, and exactly -1 (x mirrored).
set.seed(2121)
groups <- labels("g", 14)
perfect <- data.frame(g = sizes_to_factor(groups, sample(4:9, 14, replace = TRUE)))
u <- effects(groups, 2)[, 1]
perfect$x <- round(rnorm(nrow(perfect)), 3)
perfect$y <- round(10 + u[perfect$g] + (1 + 0.3 * u[perfect$g]) * perfect$x + rnorm(nrow(perfect), 0, 1.5), 4)
perfect$x_mirrored <- -perfect$x
freeze(shuffled(perfect), "perfect_corr")
reference("perfect_corr", "y ~ x + (x | g)", "perfect_corr.csv")
reference("perfect_corr_negative", "y ~ x_mirrored + (x_mirrored | g)", "perfect_corr.csv")

## 22: a large offset of y, and a covariate like a year, not centred.
set.seed(2222)
groups <- labels("g", 18)
far <- data.frame(g = sizes_to_factor(groups, sample(6:14, 18, replace = TRUE)))
far$x <- sample(1990:2010, nrow(far), replace = TRUE)
far$y <- round(1e6 + 12 * (far$x - 2000) + effects(groups, 60)[far$g, ] + rnorm(nrow(far), 0, 40), 2)
freeze(shuffled(far), "large_offset")
reference("large_offset", "y ~ x + (1 | g)", "large_offset.csv")

## 23: three groups.
set.seed(2323)
few <- grouped_line(c("g1", "g2", "g3"), c(9, 14, 11), 3, 0, 0, 1)
freeze(shuffled(few), "few_groups")
reference("few_groups", "y ~ x + (1 | g)", "few_groups.csv")

## 24: groups of one row, with random slopes.
set.seed(2424)
single <- grouped_line(labels("g", 34), sample(c(rep(1, 12), sample(2:10, 22, replace = TRUE))), 2, 1.2, -0.4, 0.8)
freeze(shuffled(single), "one_row_groups")
reference("one_row_groups", "y ~ x + (x | g)", "one_row_groups.csv")

## 26: a nested chain (g:t in g) and a factor h crossed with it.
set.seed(2626)
within <- expand.grid(rep = 1:3, t = labels("t", 4), g = labels("g", 15), stringsAsFactors = FALSE)
within <- within[runif(nrow(within)) < 0.8, ]
within$h <- as.character(pick("h", 8, nrow(within)))
within$x <- round(rnorm(nrow(within)), 3)
gt <- with(within, paste(g, t))
within$y <- round(12 + 0.6 * within$x + effects(labels("g", 15), 2)[within$g, ] + effects(unique(gt), 1.2)[gt, ] + effects(labels("h", 8), 1.5)[within$h, ] + rnorm(nrow(within)), 4)
freeze(shuffled(within[c("y", "x", "g", "t", "h")]), "within_design")
reference("within_design", "y ~ x + (1 | g) + (1 | g:t) + (1 | h)", "within_design.csv")

## 27: simulated in the manner of mlmRev::Chem97 (integer scores 0, 2, ..., 10; schools within local authorities).
set.seed(2727)
chem <- do.call(rbind, lapply(seq_len(40), function(l) do.call(rbind, lapply(seq_len(1 + rpois(1, 5)), function(s)
  data.frame(lea = l, school = s, pupil = seq_len(1 + rpois(1, 5)))))))
path <- with(chem, paste(lea, school))
chem$gcsecnt <- round(rnorm(nrow(chem), 0, 0.8), 3)
latent <- 5.7 + 2.4 * chem$gcsecnt + effects(labels("", 40), 0.5)[chem$lea, ] + effects(unique(path), 1.0)[path, ] + rnorm(nrow(chem), 0, 2.2)
chem$score <- pmin(10, pmax(0, 2 * round(latent / 2)))
freeze(data.frame(score = chem$score, gcsecnt = chem$gcsecnt, lea = factor(chem$lea), school = factor(chem$school)), "chem_like")
reference("chem_like_nested", "score ~ gcsecnt + (1 | lea/school)", "chem_like.csv")
