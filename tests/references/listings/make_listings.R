#!/usr/bin/env Rscript
# Writes variance components as lme4, nlme and glmmTMB print them: NAME.txt, and what they are to all digits: listings.json.
#
# Run:       Rscript make_listings.R OUTDIR
# Made with: R 4.2.2, lme4 1.1-31, nlme 3.1-162, glmmTMB 1.1.5, jsonlite 1.8.4 (Debian bookworm).
# Data:      sleepstudy, Penicillin and Pastes of lme4; Machines and Pixel of nlme; simulated below from a fixed seed.

suppressMessages({library(lme4); library(nlme); library(glmmTMB); library(jsonlite)})
outdir <- commandArgs(TRUE)[1]
if (is.na(outdir)) stop("usage: Rscript make_listings.R OUTDIR")
truth <- list()

blocks <- function(parts) lapply(parts, function(S) list(names = rownames(S), cov = unname(matrix(c(S), nrow(S)))))
keep <- function(name, code, parts, sigma, width = 80) {
  old <- options(width = width); on.exit(options(old))
  writeLines(capture.output(force(code)), file.path(outdir, paste0(name, ".txt")))
  truth[[name]] <<- list(blocks = blocks(parts), sigma2 = sigma^2)
}
# Terms of one factor side by side: what lme4 prints as g and g.1 is one factor here, unless there is a column g.1.
of_lme4 <- function(fit, joined = TRUE) {
  parts <- lapply(VarCorr(fit), function(S) {S <- as.matrix(S); attributes(S) <- attributes(S)[c("dim", "dimnames")]; S})
  if (joined) for (label in grep("\\.\\d+$", names(parts), value = TRUE)) {
    base <- sub("\\.\\d+$", "", label)
    S <- as.matrix(Matrix::bdiag(parts[[base]], parts[[label]]))
    dimnames(S) <- rep(list(c(rownames(parts[[base]]), rownames(parts[[label]]))), 2)
    parts[[base]] <- S; parts[[label]] <- NULL
  }
  parts
}

set.seed(20261)
n <- 360
many <- data.frame(g = gl(30, 12), h = factor(rep(1:12, 30)), x1 = rnorm(n), x2 = rnorm(n), x3 = rnorm(n), x4 = rnorm(n), x5 = rnorm(n))
many$g.1 <- factor(sample(8, n, TRUE))
many[["my x"]] <- many$x2
U <- matrix(rnorm(30 * 6), 30) %*% chol(0.4 + 0.6 * diag(6))
many$y <- rowSums(cbind(1, as.matrix(many[paste0("x", 1:5)])) * U[many$g, ]) + rnorm(12)[many$h] + rnorm(8)[many$g.1] + rnorm(n)
flat <- transform(sleepstudy, Reaction = resid(lm(Reaction ~ Subject * Days, sleepstudy)) + 300)
quick <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
reml <- function(f, d) suppressWarnings(suppressMessages(lmer(f, d, control = quick)))

sleep <- reml(Reaction ~ Days + (Days | Subject), sleepstudy)
keep("lme4_varcorr", print(VarCorr(sleep)), of_lme4(sleep), sigma(sleep))
keep("lme4_both", print(VarCorr(sleep), comp = c("Variance", "Std.Dev.")), of_lme4(sleep), sigma(sleep))
keep("lme4_variance", print(VarCorr(sleep), comp = "Variance"), of_lme4(sleep), sigma(sleep))
keep("lme4_digits", print(VarCorr(sleep), digits = 8), of_lme4(sleep), sigma(sleep))
keep("lme4_summary", print(summary(sleep)), of_lme4(sleep), sigma(sleep))
keep("lme4_print", print(sleep), of_lme4(sleep), sigma(sleep))
double <- reml(Reaction ~ Days + (Days || Subject), sleepstudy)
keep("lme4_double_bar", print(summary(double)), of_lme4(double), sigma(double))
lf <- lFormula(Reaction ~ Days + (Days | Subject), flat)
at_zero <- do.call(mkLmerDevfun, lf)
constant <- mkMerMod(environment(at_zero), list(par = c(0, 0, 0), fval = at_zero(c(0, 0, 0)), conv = 0, message = NULL), lf$reTrms, lf$fr)
keep("lme4_zero", print(VarCorr(constant)), of_lme4(constant), sigma(constant))
wide <- reml(y ~ 1 + (x1 + x2 + x3 + x4 + x5 | g) + (x1 + x2 | h), many)
keep("lme4_wide", print(VarCorr(wide)), of_lme4(wide), sigma(wide), width = 120)
keep("lme4_wrapped", print(VarCorr(wide)), of_lme4(wide), sigma(wide), width = 50)
keep("lme4_wrapped_summary", print(summary(wide)), of_lme4(wide), sigma(wide), width = 54)
two <- reml(y ~ 1 + (1 | g) + (1 | g.1), many)
keep("lme4_two_factors", print(summary(two)), of_lme4(two, FALSE), sigma(two))
quoted <- reml(y ~ 1 + (poly(x1, 2) + `my x` | g), many)
keep("lme4_names", print(VarCorr(quoted)), of_lme4(quoted), sigma(quoted))
penicillin <- reml(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
keep("lme4_crossed", print(summary(penicillin)), of_lme4(penicillin), sigma(penicillin))
pastes <- reml(strength ~ 1 + (1 | batch / cask), Pastes)
keep("lme4_nested", print(VarCorr(pastes)), of_lme4(pastes), sigma(pastes))

of_lme <- function(fit) {
  parts <- lapply(fit$modelStruct$reStruct, function(S) as.matrix(S) * fit$sigma^2)
  levels <- rev(names(parts))  # outermost first
  inner <- vapply(seq_along(levels), function(k) paste(rev(levels[1:k]), collapse = ":"), "")
  setNames(parts, rev(inner))
}
lme_sleep <- lme(Reaction ~ Days, sleepstudy, ~ Days | Subject)
keep("nlme_varcorr", print(VarCorr(lme_sleep)), of_lme(lme_sleep), lme_sleep$sigma)
keep("nlme_print", print(lme_sleep), of_lme(lme_sleep), lme_sleep$sigma)
keep("nlme_summary", print(summary(lme_sleep)), of_lme(lme_sleep), lme_sleep$sigma)
diagonal <- lme(Reaction ~ Days, sleepstudy, list(Subject = pdDiag(~ Days)))
keep("nlme_diagonal", print(VarCorr(diagonal)), of_lme(diagonal), diagonal$sigma)
pixel <- lme(pixel ~ day + I(day^2), Pixel, list(Dog = ~ day, Side = ~ 1))
keep("nlme_nested", print(VarCorr(pixel)), of_lme(pixel), pixel$sigma)
keep("nlme_nested_print", print(pixel), of_lme(pixel), pixel$sigma)
machines <- lme(score ~ Machine, Machines, ~ Machine - 1 | Worker)
keep("nlme_three", print(VarCorr(machines)), of_lme(machines), machines$sigma)

of_tmb <- function(fit) lapply(VarCorr(fit)$cond, function(S) {S <- as.matrix(S); attributes(S) <- attributes(S)[c("dim", "dimnames")]; S})
tmb <- glmmTMB(Reaction ~ Days + (Days | Subject), sleepstudy, REML = TRUE)
keep("glmmtmb_varcorr", print(VarCorr(tmb)), of_tmb(tmb), sigma(tmb))
keep("glmmtmb_summary", print(summary(tmb)), of_tmb(tmb), sigma(tmb))
keep("glmmtmb_print", print(tmb), of_tmb(tmb), sigma(tmb))

frames <- list(sleep = as.data.frame(VarCorr(sleep)), double = as.data.frame(VarCorr(double)), two = as.data.frame(VarCorr(two)), zero = as.data.frame(VarCorr(constant)))
for (name in names(frames)) write.csv(frames[[name]], file.path(outdir, paste0("frame_", name, ".csv")), row.names = FALSE)
write_json(truth, file.path(outdir, "listings.json"), digits = NA, auto_unbox = TRUE)
