from_lme4 <- function(fit) {
  if (inherits(fit, "blmerMod")) refuse("it has priors (blme), so that its estimates are not those of REML or ML")
  X <- lme4::getME(fit, "X")
  cnms <- lme4::getME(fit, "cnms")
  kinds <- lme4_kinds(fit, lengths(cnms))
  covs <- lme4::VarCorr(fit)
  weights <- fit@resp$weights
  offset <- lme4::getME(fit, "offset")
  messages <- c(unlist(fit@optinfo$conv$lme4$messages), unlist(fit@optinfo$warnings))
  list(
    engine = "lme4", packages = c("lme4", if (inherits(fit, "lmerModLmerTest")) "lmerTest"),
    formula = stats::formula(fit), method = if (lme4::isREML(fit)) "REML" else "ML",
    log_likelihood = as.numeric(stats::logLik(fit)),
    y = as.numeric(lme4::getME(fit, "y")), X = X, contrasts = attr(X, "contrasts"),
    aliased = names(attr(X, "col.dropped")),
    weights = if (any(weights != 1)) weights, offset = if (any(offset != 0)) offset,
    terms = terms_of(lme4::getME(fit, "Z"), cnms, lme4::getME(fit, "flist"), lapply(covs, plain), kinds),
    sigma = stats::sigma(fit), beta = lme4::fixef(fit), vcov = as.matrix(stats::vcov(fit)),
    converged = fit@optinfo$conv$opt == 0 && !any(grepl("failed to converge", messages)),
    messages = messages, frame = fit@frame, omitted = attr(fit@frame, "na.action"),
    data = evaluated(fit@call$data, stats::formula(fit))
  )
}

# From version 2.0 on a fit says which family each term has: classes Covariance.us, diag, cs, ar1, and hom.
lme4_kinds <- function(fit, r) {
  families <- attr(fit, "reCovs")
  if (is.null(families)) {
    if (length(lme4::getME(fit, "theta")) != sum(r * (r + 1) / 2))
      refuse("a covariance of the random effects is structured, and the fit does not say how")
    return(rep("us", length(r)))
  }
  vapply(families, function(family) {
    class <- sub("^Covariance[.]", "", class(family)[1])
    one_sd <- class %in% c("diag", "cs", "ar1") && isTRUE(methods::slot(family, "hom"))
    kind <- c(us = "us", diag = if (one_sd) "homdiag" else "diag", cs = if (one_sd) "cs" else "csh",
              ar1 = if (one_sd) "ar1" else "ar1h")[class]
    if (is.na(kind)) refuse("a covariance of the random effects is of class ", class(family)[1])
    unname(kind)
  }, "")
}
