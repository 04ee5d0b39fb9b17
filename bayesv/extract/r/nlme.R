# ---------------------------------------------------------------- nlme

from_nlme <- function(fit) {
  loadNamespace("nlme")                  # its methods, if the fit comes from a file
  if (isTRUE(attr(fit$modelStruct, "fixedSigma")))
    refuse("its residual SD was given (lmeControl(sigma = )), so that its estimates are not those of REML or ML")
  data <- if (is.null(fit$data)) evaluated(fit$call$data, stats::formula(fit)) else fit$data
  if (!is.data.frame(data) && !is.null(fit$call$data)) refuse("its data are gone; fit it with keep.data = TRUE")
  data <- as.data.frame(data)
  used <- droplevels(data[row.names(fit$fitted), , drop = FALSE])
  fixed <- stats::formula(fit)
  X <- coded(fixed, used, fit$contrasts)
  terms <- nlme_terms(fit, used)
  residual <- nlme_residual(fit$modelStruct, used, fit$sigma)
  list(
    engine = "nlme", packages = "nlme", formula = with_random(fixed, terms), method = fit$method,
    log_likelihood = as.numeric(stats::logLik(fit)),
    y = as.numeric(eval(fixed[[2]], used, environment(fixed))), X = X, contrasts = attr(X, "contrasts"),
    weights = residual$weights, offset = NULL, terms = terms, sigma = fit$sigma, residual = residual$residual,
    beta = nlme::fixef(fit), vcov = fit$varFix, converged = TRUE, messages = residual$messages,
    frame = used, omitted = fit$na.action, data = used
  )
}

from_gls <- function(fit) {
  loadNamespace("nlme")
  if (isTRUE(attr(fit$modelStruct, "fixedSigma")))
    refuse("its residual SD was given (glsControl(sigma = )), so that its estimates are not those of REML or ML")
  used <- tryCatch(nlme::getData(fit), error = function(e) NULL)
  if (is.null(used)) refuse("its data are gone")
  fixed <- stats::formula(fit)
  used <- droplevels(as.data.frame(used)[names(stats::resid(fit)), , drop = FALSE])
  X <- coded(fixed, used, fit$contrasts)
  aliased <- setdiff(colnames(X), names(stats::coef(fit)))
  contrasts <- attr(X, "contrasts")
  residual <- nlme_residual(fit$modelStruct, used, fit$sigma)
  if (is.null(residual$residual)) refuse("it has no random effects, and residuals that are independent with known weights: V is R")
  list(
    engine = "nlme", packages = "nlme", formula = fixed, method = fit$method,
    log_likelihood = as.numeric(stats::logLik(fit)),
    y = as.numeric(eval(fixed[[2]], used, environment(fixed))), X = X[, names(stats::coef(fit)), drop = FALSE],
    contrasts = contrasts, aliased = aliased, weights = residual$weights, offset = NULL, terms = list(),
    sigma = fit$sigma, residual = residual$residual, beta = stats::coef(fit), vcov = fit$varBeta,
    other_cov = if (fit$method == "ML") "n/(n - p) times it, as gls() does by ML",
    converged = TRUE, messages = residual$messages, frame = used, omitted = fit$na.action, data = used
  )
}

nlme_terms <- function(fit, used) {
  terms <- list()
  outer <- NULL
  for (name in names(fit$groups)) {      # outermost first; nlme calls level b of a "a/b"
    level <- as.character(fit$groups[[name]])
    own <- if (is.null(outer)) level else substring(level, nchar(outer$level) + 2)
    label <- if (is.null(outer)) name else
      paste0(name, ":", if (grepl(":", outer$label)) paste0("(", outer$label, ")") else outer$label)
    shown <- if (is.null(outer)) own else paste(own, outer$shown, sep = ":")
    outer <- list(level = level, label = label, shown = shown)
    factor <- factor(shown, unique(shown[order(fit$groups[[name]])]))
    structure <- fit$modelStruct$reStruct[[name]]
    blocks <- if (inherits(structure, "pdBlocked")) as.list(structure) else list(structure)
    for (block in blocks) terms[[length(terms) + 1]] <- pd_term(block, label, factor, used, fit)
  }
  terms
}

# One pdMat; several are the blocks of a pdBlocked.
pd_term <- function(structure, label, factor, used, fit) {
  kinds <- c(pdLogChol = "us", pdSymm = "us", pdNatural = "us", pdDiag = "diag", pdIdent = "homdiag", pdCompSymm = "cs")
  class <- intersect(class(structure), names(kinds))[1]
  if (is.na(class)) refuse("the covariance of the effects of ", label, " is of class ", class(structure)[1],
                           "; known are ", paste(names(kinds), collapse = ", "), " and pdBlocked")
  kind <- kinds[[class]]
  formula <- stats::formula(structure)
  if (is.null(formula)) refuse("the effects of ", label, " have no formula (", class(structure)[1], " of a matrix)")
  columns <- coded(formula, used, fit$contrasts)
  list(group = label, columns = colnames(columns), kind = if (ncol(columns) == 1) "us" else kind,
       written = if (kind == "us") text(formula[[2]]), cov = plain(nlme::pdMatrix(structure)) * fit$sigma^2,
       values = unname(columns), factor = factor)
}
