#!/usr/bin/env Rscript
# Makes exported fits whose residuals or random effects have a structure, and the reasons of what is refused.
#
# Run:       bayesv export-r -o bayesv_export.R; Rscript make_exports.R bayesv_export.R ../structures OUTDIR
# Made with: R 4.2.2, nlme 3.1-162, glmmTMB 1.1.5, lme4 1.1-31, metafor 3.8-1 (Debian bookworm).
# Data:      Orthodont, Ovary, BodyWeight, Machines, Oats, Wheat2 (nlme); fev.csv; dat.konstantopoulos2011, dat.bcg,
#            dat.berkey1998 (metadat); "visits" is simulated from a seed.
#
# mmrm and lme4 2.0 are stood in for: objects with the elements that their documentation names, filled with estimates that
# gls(), optim() and lme4 1.1 made.

suppressMessages({library(nlme); library(glmmTMB); library(lme4); library(metafor)})
argument <- commandArgs(TRUE)
if (length(argument) != 3) stop("usage: Rscript make_exports.R BAYESV_EXPORT_R STRUCTURES OUTDIR")
source(argument[1])
out <- argument[3]
lme <- nlme::lme
few <- function(expression) suppressWarnings(suppressMessages(expression))

keep <- function(name, fit) few(bayesv_export(fit, file.path(out, name), overwrite = TRUE))
refused <- NULL
refuse <- function(name, fit) {
  message <- tryCatch({few(bayesv_export(fit, tempfile())); "not refused"}, error = conditionMessage)
  refused <<- rbind(refused, data.frame(fit = name, message = message))
}

# ---------------------------------------------------------------- data

orthodont <- as.data.frame(Orthodont)
orthodont$Subject <- factor(as.character(orthodont$Subject))
ovary <- subset(as.data.frame(Ovary), as.integer(as.character(Mare)) < 6)
ovary$Mare <- factor(as.character(ovary$Mare))
ovary$late <- ovary$Time + 1
fev <- read.csv(file.path(argument[2], "fev.csv"), stringsAsFactors = TRUE)
fev <- fev[!is.na(fev$FEV1), ]
fev$number <- as.integer(fev$AVISIT)
set.seed(1)
fev <- fev[sample(nrow(fev), 260), ]     # unsorted, with gaps
set.seed(3)
visits <- expand.grid(t = 1:5, g = 1:30)
visits$visit <- factor(paste0("v", visits$t))
visits$x <- round(rnorm(150), 3)
visits$arm <- factor(ifelse(visits$g %% 2, "A", "B"))
visits$site <- factor(visits$g %% 6)
visits$g <- factor(visits$g)
visits$time <- c(0, 1, 2.5, 4, 7)[visits$t]
visits$when <- numFactor(visits$time)
visits$where <- numFactor(visits$time, (1.7 * visits$time) %% 3)
S <- 0.7^abs(outer(1:5, 1:5, "-")) * sqrt(outer(1:5, 1:5))
visits$y <- with(visits, round(2 + x + as.vector(t(chol(S)) %*% matrix(rnorm(150), 5)) + rnorm(6)[site] +
                                 rnorm(150) * ifelse(arm == "B", 1, 0.5), 3))
visits <- visits[sort(sample(150, 128)), ]

# ---------------------------------------------------------------- nlme

keep("gls_us", gls(FEV1 ~ ARMCD, fev, correlation = corSymm(form = ~ number | USUBJID), weights = varIdent(form = ~ 1 | AVISIT)))
keep("gls_symm_ml", gls(distance ~ age * Sex, orthodont, correlation = corSymm(form = ~ 1 | Subject), method = "ML"))
keep("gls_ar1", gls(FEV1 ~ ARMCD, fev, correlation = corAR1(form = ~ number | USUBJID)))
keep("gls_cs_strata", gls(distance ~ age, orthodont, correlation = corCompSymm(form = ~ 1 | Subject), weights = varIdent(form = ~ 1 | Sex * age)))
keep("gls_arma", gls(follicles ~ sin(2 * pi * Time), ovary, correlation = corARMA(form = ~ 1 | Mare, p = 1, q = 1)))
keep("gls_ma_power", gls(follicles ~ sin(2 * pi * Time), ovary, correlation = corARMA(form = ~ 1 | Mare, q = 1), weights = varPower(form = ~ late)))
wheat <- subset(as.data.frame(Wheat2), latitude > 25)
keep("gls_gaus_nugget", gls(yield ~ 1, wheat, correlation = corGaus(c(9, 0.3), form = ~ latitude + longitude, nugget = TRUE)))
keep("gls_strata_ml", gls(distance ~ age, orthodont, weights = varIdent(form = ~ 1 | Sex), method = "ML"))
keep("lme_ar1", lme(follicles ~ sin(2 * pi * Time), random = ~ 1 | Mare, data = ovary, correlation = corAR1()))
keep("lme_car1", lme(weight ~ Time * Diet, random = ~ Time | Rat, data = BodyWeight, correlation = corCAR1(form = ~ Time | Rat),
                     weights = varComb(varIdent(form = ~ 1 | Diet), varExp(form = ~ Time))))
keep("lme_nested", lme(yield ~ nitro, random = ~ 1 | Block/Variety, data = Oats, correlation = corAR1(form = ~ 1 | Block/Variety)))
keep("lme_ident", lme(distance ~ age, random = list(Subject = pdIdent(~ age)), data = orthodont, weights = varFixed(~ age)))
keep("lme_blocked", lme(score ~ Machine, random = list(Worker = pdBlocked(list(pdIdent(~ 1), pdCompSymm(~ Machine - 1)))), data = Machines,
                        control = lmeControl(opt = "optim")))

# ---------------------------------------------------------------- glmmTMB

keep("tmb_us_r", glmmTMB(y ~ x + visit + us(0 + visit | g), visits, dispformula = ~ 0, REML = TRUE))
keep("tmb_ar1_r_site", glmmTMB(y ~ x + ar1(0 + visit | g) + (1 | site), visits, dispformula = ~ 0, REML = TRUE))
keep("tmb_exp_r", glmmTMB(y ~ x + exp(0 + where | g), visits, dispformula = ~ 0, REML = TRUE))
keep("tmb_cs", glmmTMB(y ~ x + cs(0 + visit | g), visits, REML = TRUE))
keep("tmb_ar1_strata", glmmTMB(y ~ x + ar1(0 + visit | g), visits, dispformula = ~ arm))
keep("tmb_ou", glmmTMB(y ~ x + ou(0 + when | g), visits))
keep("tmb_mat", glmmTMB(y ~ x + mat(0 + when | g), visits))
keep("tmb_scales", glmmTMB(y ~ x + (1 | g), visits, dispformula = ~ arm + time + log(t)))

# ---------------------------------------------------------------- metafor

schools <- dat.konstantopoulos2011
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
bcg$yi[3] <- NA
keep("rma_nested", rma.mv(yi, vi, random = ~ 1 | district/school, data = schools))
keep("rma_cs", rma.mv(yi, vi, mods = ~ year, random = ~ factor(school) | district, struct = "CS", data = schools))
keep("rma_uni", few(rma(yi, vi, mods = ~ ablat + alloc, data = bcg)))
keep("rma_knha", few(rma(yi ~ ablat, vi, data = bcg, method = "ML", test = "knha")))
keep("rma_equal", few(rma(yi, vi, data = bcg, method = "FE")))
keep("rma_un", rma.mv(yi, vcalc(vi = 1, cluster = author, rvars = c(v1i, v2i), data = dat.berkey1998), mods = ~ outcome - 1,
                      random = ~ outcome | trial, struct = "UN", data = dat.berkey1998))
effects <- transform(visits, vi = round(0.2 + 0.1 * (t %% 3), 2), one = 1, id = seq_along(t))
keep("rma_car", rma.mv(y, vi, mods = ~ x, random = list(~ time | g, ~ 1 | site), struct = "CAR", data = effects))
keep("rma_har", rma.mv(y, vi, random = ~ t | g, struct = "HAR", data = effects))
keep("rma_gen", rma.mv(y, vi, random = ~ x | g, struct = "GEN", data = effects))

set.seed(4)
related <- crossprod(matrix(rnorm(240), 20)) / 20
related <- round(cov2cor(related + diag(12)), 4)
dimnames(related) <- list(paste0("sp", 1:12), paste0("sp", 1:12))
species <- data.frame(sp = paste0("sp", rep(1:12, each = 4)), study = rep(1:16, 3), vi = round(runif(48, 0.05, 0.3), 3))
species$phylo <- species$sp
species$yi <- with(species, round(rnorm(48, 0, sqrt(vi)) + rep(t(chol(related)) %*% rnorm(12) + rnorm(12, 0, 0.4), each = 4), 3))
keep("rma_phylo", rma.mv(yi, vi, random = list(~ 1 | sp, ~ 1 | phylo, ~ 1 | study), R = list(phylo = related), data = species))

# ---------------------------------------------------------------- mmrm: its documented elements

mmrm_like <- function(formula, data, visit, subject, kind, cov, theta, fit, group = NULL) {
  variables <- unique(c(all.vars(formula), visit, subject, group))
  frame <- data[order(data[[subject]], data[[visit[1]]]), variables]
  structure(list(
    cov = cov, theta_est = theta, beta_est = fit$beta, beta_vcov = fit$vcov, neg_log_lik = fit$value, reml = TRUE,
    weights = rep(1, nrow(frame)), data = data, opt_details = list(convergence = 0, message = ""), method = "Kenward-Roger",
    formula_parts = list(model_formula = formula, cov_type = kind, is_spatial = grepl("^sp_", kind), visit_var = visit,
                         subject_var = subject, group_var = group),
    tmb_data = list(full_frame = frame, y_vector = frame[[all.vars(formula)[1]]], x_matrix = stats::model.matrix(formula, frame),
                    x_cols_aliased = c("(Intercept)" = FALSE))
  ), class = c("mmrm", "mmrm_fit", "mmrm_tmb"))
}
of_gls <- function(fit) list(beta = coef(fit), vcov = fit$varBeta, value = -as.numeric(logLik(fit)))
fit <- gls(FEV1 ~ ARMCD, fev, correlation = corSymm(form = ~ number | USUBJID), weights = varIdent(form = ~ 1 | AVISIT))
sds <- fit$sigma * coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)[levels(fev$AVISIT)]
C <- diag(4)
C[lower.tri(C)] <- coef(fit$modelStruct$corStruct, unconstrained = FALSE)
C <- C + t(C) - diag(4)
keep("mmrm_us", mmrm_like(FEV1 ~ ARMCD, fev, "AVISIT", "USUBJID", "us", outer(sds, sds) * C, rep(0, 10), of_gls(fit)))
fit <- gls(y ~ x, visits, correlation = corExp(form = ~ time | g))
rho <- exp(-1 / coef(fit$modelStruct$corStruct, unconstrained = FALSE))
keep("mmrm_sp_exp", mmrm_like(y ~ x, visits, "time", "g", "sp_exp", diag(2), c(2 * log(fit$sigma), qlogis(rho)), of_gls(fit)))
# AR(1) with parameters by arm, whose REML optimum is found here.
reml <- function(theta, all = FALSE) {
  X <- model.matrix(~ x, visits)
  V <- matrix(0, nrow(X), nrow(X))
  for (arm in 1:2) {
    same <- outer(as.integer(visits$g), as.integer(visits$g), "==") & outer(as.integer(visits$arm), rep(arm, nrow(X)), "==")
    V <- V + same * exp(2 * theta[2 * arm - 1]) * (0.98 * tanh(theta[2 * arm]))^abs(outer(visits$t, visits$t, "-"))
  }
  W <- solve(V)
  A <- crossprod(X, W %*% X)
  beta <- solve(A, crossprod(X, W %*% visits$y))
  e <- visits$y - X %*% beta
  value <- ((nrow(X) - 2) * log(2 * pi) + determinant(V)$modulus + determinant(A)$modulus + sum(e * (W %*% e))) / 2
  if (all) list(beta = stats::setNames(beta[, 1], colnames(X)), vcov = solve(A), value = as.numeric(value)) else as.numeric(value)
}
theta <- optim(c(0.6, 0.5, 0.6, 0.5), function(p) if (max(abs(p)) > 4) 1e6 else reml(p), method = "BFGS", control = list(reltol = 1e-15))$par
covs <- lapply(1:2, function(arm) exp(2 * theta[2 * arm - 1]) * (0.98 * tanh(theta[2 * arm]))^abs(outer(1:5, 1:5, "-")))
keep("mmrm_ar1_group", mmrm_like(y ~ x, visits, "visit", "g", "ar1", stats::setNames(covs, c("A", "B")), theta, reml(theta, TRUE), "arm"))

# ---------------------------------------------------------------- lme4 2.0: families in the attribute "reCovs"

invisible(setClass("Covariance.cs", representation(nc = "integer", par = "numeric", hom = "logical")))
invisible(setClass("Covariance.ar1", representation(nc = "integer", par = "numeric", hom = "logical")))
invisible(setClass("Covariance.rr", representation(nc = "integer")))
lme4_like <- function(formula, data, corr, family) {
  parts <- lFormula(formula, data, control = lmerControl(check.nobs.vs.nRE = "ignore"))
  devfun <- do.call(mkLmerDevfun, parts)
  n <- length(parts$reTrms$cnms[[1]])
  theta <- function(x) (exp(x[1]) * t(chol(corr(tanh(x[2]), n))))[lower.tri(diag(n), TRUE)]
  best <- optim(c(0, 0.3), function(x) if (max(abs(x)) > 3) 1e6 else devfun(theta(x)), method = "BFGS", control = list(reltol = 1e-15))
  devfun(theta(best$par))
  opt <- list(par = theta(best$par), fval = best$value, conv = 0, feval = 1, message = NULL)
  fit <- mkMerMod(environment(devfun), opt, parts$reTrms, parts$fr)
  attr(fit, "reCovs") <- list(family)
  fit
}
cs <- function(z, n) ifelse(diag(n) == 1, 1, 0.499 * (1 + z))
machines <- transform(as.data.frame(Machines), Worker = factor(as.character(Worker)))
ar1 <- function(z, n) (0.99 * z)^abs(outer(1:n, 1:n, "-"))
keep("lmer_cs", lme4_like(score ~ Machine + (0 + Machine | Worker), machines, cs, new("Covariance.cs", nc = 3L, par = c(1, 0), hom = TRUE)))
keep("lmer_ar1", lme4_like(score ~ Machine + (0 + Machine | Worker), machines, ar1, new("Covariance.ar1", nc = 3L, par = c(1, 0), hom = TRUE)))
refuse("lme4 family", lme4_like(score ~ Machine + (0 + Machine | Worker), machines, ar1, new("Covariance.rr", nc = 3L)))

# ---------------------------------------------------------------- refused

refuse("gls independent", gls(distance ~ age, orthodont))
refuse("corAR1 fixed", gls(distance ~ age, orthodont, correlation = corAR1(0.3, form = ~ 1 | Subject, fixed = TRUE)))
refuse("corARMA(2, 0)", gls(follicles ~ 1, ovary, correlation = corARMA(form = ~ 1 | Mare, p = 2)))
refuse("corRatio", gls(yield ~ 1, wheat, correlation = corRatio(9, form = ~ latitude + longitude)))
refuse("corExp manhattan", gls(yield ~ 1, wheat, correlation = corExp(9, form = ~ latitude + longitude, metric = "manhattan")))
refuse("varPower fitted", gls(distance ~ age, orthodont, weights = varPower()))
refuse("varConstPower", gls(distance ~ age, orthodont, weights = varConstPower(form = ~ age)))
refuse("varExp by stratum", gls(distance ~ age, orthodont, weights = varExp(form = ~ age | Sex)))
refuse("varIdent fixed", gls(distance ~ age, orthodont, weights = varIdent(form = ~ 1 | Sex, fixed = c(Female = 0.5))))
refuse("corSymm beside strata", gls(distance ~ age, orthodont, correlation = corSymm(form = ~ 1 | Subject), weights = varIdent(form = ~ 1 | Sex)))
refuse("rr", few(glmmTMB(y ~ x + rr(0 + visit | g, 2), visits)))
refuse("dispformula = ~ 0", few(glmmTMB(y ~ x + (1 | g), visits, dispformula = ~ 0)))
refuse("dispformula product", few(glmmTMB(y ~ x + (1 | g), visits, dispformula = ~ arm * time)))
refuse("rma DL", few(rma(yi, vi, data = bcg, method = "DL")))
refuse("rma weights", few(rma(yi, vi, weights = 1, data = bcg)))
refuse("rma given", rma.mv(yi, vi, random = ~ 1 | district, sigma2 = 0.1, data = schools))
refuse("rma scale", few(rma(yi, vi, scale = ~ ablat, data = bcg)))
refuse("rma SPLIN", few(rma.mv(y, vi, random = ~ time + x | one, struct = "SPLIN", data = effects[1:20, ])))
refuse("rma robust", robust(rma.mv(yi, vi, random = ~ 1 | district, data = schools), cluster = district))
refuse("mmrm type", local({m <- mmrm_like(y ~ x, visits, "visit", "g", "ar2", diag(5), 0, reml(theta, TRUE)); m}))

write.csv(refused, file.path(out, "refused.csv"), row.names = FALSE)
