#!/usr/bin/env Rscript
# Makes the exported fits, what else R says of them, and the reasons of what is refused.
#
# Run:       bayesv export-r -o bayesv_export.R; Rscript make_exports.R bayesv_export.R OUTDIR
# Made with: R 4.2.2, lme4 1.1-31, lmerTest 3.1-3, nlme 3.1-162, glmmTMB 1.1.5, brms 2.18.0, rstanarm 2.21.3, rstan 2.21.7 (Debian bookworm).
# Data:      sleepstudy, Pastes, Penicillin, Dyestuff2 (lme4), Machines (nlme); "mixed" is simulated from a seed.
#
# Each folder is a fit written by bayesv_export(). effects.csv has the conditional modes of the random effects by label
# where R gives them by lme4's labels (lme4, glmmTMB); means.csv the posterior means of beta and Sigma that brms and rstanarm
# compute themselves; refused.csv the messages for what cannot be written.

suppressMessages({library(lme4); library(nlme); library(glmmTMB); library(rstanarm); library(brms)})
argument <- commandArgs(TRUE)
if (length(argument) != 2) stop("usage: Rscript make_exports.R BAYESV_EXPORT_R OUTDIR")
source(argument[1])
out <- argument[2]
if (dir.exists("/usr/include/boost")) rstan::rstan_options(boost_lib = "/usr/include")   # Debian keeps BH's headers there
lmer <- lme4::lmer
lme <- nlme::lme

effects <- NULL
keep <- function(name, fit) {
  suppressMessages(bayesv_export(fit, file.path(out, name), overwrite = TRUE))
  if (!inherits(fit, c("lmerMod", "glmmTMB"))) return(invisible())
  modes <- if (inherits(fit, "glmmTMB")) glmmTMB::ranef(fit)$cond else lme4::ranef(fit, condVar = FALSE)
  for (group in names(modes)) for (column in names(modes[[group]]))
    effects <<- rbind(effects, data.frame(fit = name, group = group, level = row.names(modes[[group]]),
                                          column = column, mode = sprintf("%.12g", modes[[group]][[column]])))
}

means <- NULL
keep_draws <- function(name, fit) {
  suppressMessages(bayesv_export(fit, file.path(out, name), overwrite = TRUE))
  add <- function(group, a, b, value) means <<- rbind(means, data.frame(fit = name, group, a, b, mean = sprintf("%.12g", value)))
  if (inherits(fit, "brmsfit")) {
    beta <- brms::fixef(fit)[, "Estimate"]
    spread <- brms::VarCorr(fit)
    spread$residual__ <- NULL
    covs <- lapply(spread, function(v) if (!is.null(v$cov)) v$cov[, "Estimate", ])
    for (group in names(spread)) for (a in rownames(spread[[group]]$sd)) add(group, a, "sd", spread[[group]]$sd[a, "Estimate"])
  } else {
    beta <- fit$stan_summary[names(rstanarm::fixef(fit)), "mean"]
    covs <- lapply(rstanarm::VarCorr(fit), unclass)
  }
  for (b in names(beta)) add("fixed", b, "", beta[[b]])
  for (group in names(covs)) for (i in rownames(covs[[group]])) for (j in rownames(covs[[group]]))
    add(group, i, j, covs[[group]][i, j])
}

refused <- NULL
refuse <- function(name, fit) {
  message <- tryCatch({bayesv_export(fit, tempfile()); "not refused"}, error = conditionMessage)
  refused <<- rbind(refused, data.frame(fit = name, message = message))
}

# ---------------------------------------------------------------- data

data(sleepstudy, Pastes, Penicillin, Dyestuff2, package = "lme4")
sleepstudy$Subject <- factor(sleepstudy$Subject)
gappy <- sleepstudy
gappy$Reaction[c(3, 44, 45, 170)] <- NA
gappy$size <- rep(c(1, 2, 4), length.out = nrow(gappy))

set.seed(20)
n <- 150
mixed <- data.frame(site.no = factor(sample(paste0("s", 1:9), n, TRUE)), item = factor(sample(letters[1:7], n, TRUE)),
                    kind = factor(sample(c("low", "mid", "high"), n, TRUE), levels = c("low", "mid", "high")),
                    on = sample(c("no", "yes, \"tr\u00e8s\""), n, TRUE), x = round(rnorm(n), 3), o = round(runif(n), 3),
                    w = sample(c(0.5, 1, 3), n, TRUE))
mixed <- mixed[sample(n), ]
row.names(mixed) <- paste0("row", seq_len(n))
mixed$y <- with(mixed, 3 + o + 0.5 * x - 0.3 * x^2 + c(0, 1, -1)[kind] + rnorm(9)[site.no] + rnorm(9, 0, 0.5)[site.no] * x +
                  rnorm(7, 0, 0.7)[item] + rnorm(n) / sqrt(w))
mixed$y <- round(mixed$y + 10, 3)
mixed$x[c(5, 60)] <- NA
mixed$kind[17] <- NA

# A field trial whose names and labels are as awkward as R allows.
plots <- data.frame(row = factor(rep(1:6, each = 10)), col = factor(rep(1:10, 6)), half = rep(1:10, 6) > 5,
                    feed = factor(sample(c("ctl", "p:q", "x/y"), 60, TRUE), levels = c("ctl", "p:q", "x/y")),
                    feed1 = round(rnorm(60), 3), o = round(runif(60), 3))
plots$soil <- addNA(factor(rep(c("clay", NA, "sand"), 20)))
plots$depth <- scale(rnorm(60))
plots$rain <- cbind(may = round(rnorm(60), 3), june = round(rnorm(60), 3))
plots$y <- with(plots, round(o + feed1 + half + as.integer(feed) + rnorm(6)[row] + rnorm(10)[col] + rnorm(60), 3))

# ---------------------------------------------------------------- lme4

keep("lmer_sleepstudy", lmerTest::lmer(Reaction ~ Days + (Days | Subject), sleepstudy))
keep("lmer_nested_ml", lmer(strength ~ 1 + (1 | batch/cask), Pastes, REML = FALSE))
keep("lmer_crossed", lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin))
keep("lmer_singular", suppressMessages(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2)))
keep("lmer_double_bar", lmer(Reaction ~ Days + (Days || Subject), gappy))
keep("lmer_mixed", lmer(log(y) ~ poly(o, 2) + kind * x + on + offset(o / 10) + (x | site.no) + (1 | item), mixed, weights = w))
keep("lmer_contrasts", lmer(y ~ kind + (0 + kind | item) + (1 | site.no), mixed, contrasts = list(kind = "contr.sum"),
                            control = lmerControl(check.conv.singular = "ignore", check.conv.grad = "ignore")))
keep("lmer_labels", lmer(y ~ feed * half + feed1 + depth + rain + soil + (1 | row) + (1 | col), plots))
keep("lmer_no_fixed", lmer(Yield ~ 0 + (1 | Batch), lme4::Dyestuff))

# ---------------------------------------------------------------- nlme

keep("lme_nested", lme(strength ~ 1, random = ~ 1 | batch/cask, data = Pastes))
keep("lme_diagonal", lme(Reaction ~ Days, random = list(Subject = pdDiag(~ Days)), data = gappy,
                         na.action = na.omit, weights = varFixed(~ size), method = "ML"))
keep("lme_shuffled", lme(y ~ kind + x, random = ~ 1 | site.no/item, data = mixed, na.action = na.omit))
keep("lme_machines", lme(score ~ Machine, random = ~ 1 | Worker/Machine, data = nlme::Machines))

# ---------------------------------------------------------------- glmmTMB

keep("glmmtmb_reml", glmmTMB(y ~ kind + x + offset(o) + diag(x | site.no) + (1 | item), mixed, REML = TRUE))
keep("glmmtmb_ml", glmmTMB(Reaction ~ Days + (Days | Subject), sleepstudy))
keep("glmmtmb_offset", glmmTMB(y ~ feed + (1 | row), plots, offset = o))

# ---------------------------------------------------------------- rstanarm and brms, few draws

few <- function(expression) suppressWarnings(suppressMessages(expression))
few(keep_draws("rstanarm", stan_lmer(y ~ kind + x + (x | site.no) + (1 | item), mixed, chains = 2, iter = 500, warmup = 400, seed = 1, refresh = 0)))
few(keep_draws("brms", brm(y ~ kind + x + offset(o) + (x | site.no) + (1 | item/on), mixed, chains = 2, iter = 500, warmup = 400,
                     seed = 1, refresh = 0)))
few(keep_draws("brms_double_bar", brm(Reaction ~ Days + (Days || Subject), sleepstudy, chains = 2, iter = 500, warmup = 400, seed = 1, refresh = 0)))

# ---------------------------------------------------------------- refused

binary <- transform(mixed, up = as.integer(y > median(y)), time = factor(as.integer(item)))
refuse("lm", lm(Reaction ~ Days, sleepstudy))
refuse("glmer", suppressMessages(glmer(up ~ 1 + (1 | item), binary, family = binomial)))
refuse("given sigma", lme(Reaction ~ Days, random = ~ 1 | Subject, data = sleepstudy, control = lmeControl(sigma = 30)))
refuse("lost data", local({gone <- sleepstudy; fit <- lme(Reaction ~ Days, random = ~ 1 | Subject, data = gone, keep.data = FALSE); rm(gone); fit}))
refuse("named twice", lmer(y ~ grade + grade2 + (1 | item), transform(mixed, grade = factor(as.integer(kind)), grade2 = o)))
refuse("several levels", local({        # a row with the effects of two subjects
  parts <- lFormula(Reaction ~ Days + (1 | Subject), sleepstudy)
  parts$reTrms$Zt[2, 1] <- 1
  devfun <- do.call(mkLmerDevfun, parts)
  mkMerMod(environment(devfun), optimizeLmer(devfun), parts$reTrms, parts$fr)
}))
refuse("zero inflation", few(glmmTMB(y ~ x + (1 | item), mixed, ziformula = ~ 1)))
refuse("poisson", few(glmmTMB(up ~ 1 + (1 | item), binary, family = poisson)))
refuse("glmmTMB weights", glmmTMB(y ~ x + (1 | item), mixed, weights = w))
refuse("rstanarm weights", few(stan_lmer(y ~ x + (1 | item), mixed, weights = w, chains = 1, iter = 60, refresh = 0)))
refuse("rstanarm prior", few(stan_lmer(y ~ x + (1 | item), mixed, prior_PD = TRUE, chains = 1, iter = 60, refresh = 0)))
refuse("stan_glm", few(stan_glm(y ~ x, data = mixed, chains = 1, iter = 60, refresh = 0)))
refuse("rstanarm binomial", few(stan_glmer(up ~ 1 + (1 | item), data = binary, family = binomial, chains = 1, iter = 60, refresh = 0)))
# Nothing is compiled for these: an empty brmsfit has formula, data and the table of group-level terms.
empty <- function(formula, data = mixed, ...) few(brm(formula, data, empty = TRUE, ...))
refuse("brms weights", empty(y | weights(w) ~ x + (1 | item)))
refuse("brms prior", empty(y ~ x + (1 | item), sample_prior = "only", prior = prior(normal(0, 1), class = "b")))
refuse("brms multivariate", empty(bf(mvbind(y, o) ~ x + (1 | item)) + set_rescor(FALSE)))
refuse("brms poisson", empty(up ~ x + (1 | item), binary, family = poisson()))
refuse("brms student", empty(y ~ x + (1 | gr(item, dist = "student"))))
refuse("brms by", empty(y ~ x + (1 | gr(item, by = on)), transform(mixed, on = factor(as.integer(item) > 3))))
refuse("brms smooth", empty(y ~ s(x) + (1 | item)))
refuse("brms nonlinear", empty(bf(y ~ a * exp(x), a ~ 1 + (1 | item), nl = TRUE), prior = prior(normal(0, 1), nlpar = "a")))
refuse("brms without groups", empty(y ~ x))

write.csv(effects, gzfile(file.path(out, "effects.csv.gz")), row.names = FALSE)
write.csv(means, file.path(out, "means.csv"), row.names = FALSE)
write.csv(refused, file.path(out, "refused.csv"), row.names = FALSE)
