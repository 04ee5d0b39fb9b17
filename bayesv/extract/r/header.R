# Writes a mixed model fitted in R to a folder that bayesv reads: bv.read_fit("folder").
#
#   source("bayesv_export.R")
#   bayesv_export(fit, "folder")
#
# fit: lmer (lme4, lmerTest), lme or gls (nlme), glmmTMB, mmrm, rma.uni or rma.mv (metafor), brm (brms), stan_lmer or
# stan_glmer (rstanarm).
# Needs nothing beyond base R and the package that made the fit. The folder gets
#   fit.json        what was fitted and what was found, numbers with 17 significant digits
#   design.csv.gz   y, X, columns and levels of every random term, weights, offset: R's own coding
#   covariance.csv.gz, relationships.csv.gz    known covariances of rows or levels, if there are any
#   data.csv.gz     the variables of the rows used, as far as the data can still be found
#   draws.csv.gz    draws of beta, Sigma and sigma by chain (brms, rstanarm)
# A fit without a marginal covariance V = Z G Z' + R of this form is refused with the reason.
