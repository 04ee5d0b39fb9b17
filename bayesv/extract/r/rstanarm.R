from_rstanarm <- function(fit) {
  loadNamespace("rstanarm")
  if (!identical(fit$stan_function, "stan_lmer") && !identical(fit$stan_function, "stan_glmer"))
    refuse("it was made by ", fit$stan_function, "; stan_lmer and stan_glmer can be read")
  if (fit$family$family != "gaussian" || fit$family$link != "identity")
    refuse("its family is ", fit$family$family, " with link ", fit$family$link, ", not gaussian with identity")
  if (any(fit$weights != 1)) refuse("weights of rstanarm are powers of the likelihood, not R = sigma^2/w")
  if (isTRUE(evaluated(fit$call$prior_PD, stats::formula(fit)))) refuse("its draws are of the prior (prior_PD = TRUE)")
  if (fit$algorithm != "sampling") refuse("its draws are of algorithm '", fit$algorithm, "', not of MCMC")
  effects <- fit$glmod$reTrms
  X <- fit$glmod$X
  if (length(fit$dropped_cols)) X <- X[, setdiff(colnames(X), fit$dropped_cols), drop = FALSE]
  draws <- as.array(fit)
  terms <- terms_of(Matrix::t(effects$Zt), effects$cnms, effects$flist, NULL)
  lower <- function(t, i, j)
    chosen(draws, paste0("Sigma[", t$name, ":", t$columns[i], ",", t$columns[j], "]"))
  frame <- fit$glmod$fr
  list(
    engine = "rstanarm", packages = c("rstanarm", "rstan"), formula = stats::formula(fit), method = "posterior",
    y = as.numeric(fit$y), X = X, contrasts = attr(fit$glmod$X, "contrasts"),
    aliased = c(names(attr(fit$glmod$X, "col.dropped")), fit$dropped_cols),
    weights = NULL, offset = if (any(fit$offset != 0)) fit$offset, terms = terms,
    draws = draws_table(draws, colnames(X), colnames(X), terms, lower),
    converged = TRUE, frame = frame, omitted = attr(frame, "na.action"), data = fit$data
  )
}
