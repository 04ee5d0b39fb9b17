# ---------------------------------------------------------------- glmmTMB

from_glmmTMB <- function(fit) {
  info <- fit$modelInfo
  if (info$family$family != "gaussian" || info$family$link != "identity")
    refuse("its family is ", info$family$family, " with link ", info$family$link, ", not gaussian with identity")
  if (text(info$allForm$ziformula) != "~0") refuse("it has zero inflation")
  if (length(info$priors)) refuse("it has priors, so that its estimates are not those of REML or ML")
  if (any(stats::model.weights(fit$frame) != 1))
    refuse("weights of glmmTMB are powers of the likelihood, not R = sigma^2/w; lmer(weights = ) has those")
  structure <- info$reStruc$condReStruc
  X <- as.matrix(glmmTMB::getME(fit, "X"))
  effects <- info$reTrms$cond
  offset <- fit$obj$env$data$offset      # not the frame's: offset = may stand there twice
  terms <- if (length(structure)) tmb_terms(fit, structure, effects) else list()
  if (text(info$allForm$dispformula) == "~0") {
    residual <- tmb_zero_dispersion(fit, structure, terms, effects)
    terms <- terms[-residual$term]
  } else residual <- tmb_dispersion(fit, info)
  if (!length(terms) && is.null(residual$residual)) refuse("it has no random effects and independent residuals")
  list(
    engine = "glmmTMB", packages = "glmmTMB", formula = stats::formula(fit),
    method = if (info$REML) "REML" else "ML", log_likelihood = -fit$fit$objective,
    y = as.numeric(stats::model.response(fit$frame)), X = X, contrasts = attr(X, "contrasts"),
    weights = NULL, offset = if (any(offset != 0)) offset, terms = terms, sigma = residual$sigma,
    residual = residual$residual, beta = glmmTMB::fixef(fit)$cond[colnames(X)], vcov = finite_or_none(stats::vcov(fit)$cond),
    converged = fit$fit$convergence == 0,
    messages = c(if (fit$fit$convergence != 0) fit$fit$message, residual$messages, unlist(lapply(terms, `[[`, "message"))),
    frame = fit$frame, omitted = attr(fit$frame, "na.action"),
    data = evaluated(fit$call$data, stats::formula(fit))
  )
}

tmb_kinds <- c(us = "us", diag = "diag", homdiag = "homdiag", cs = "csh", homcs = "cs", ar1 = "ar1", hetar1 = "ar1h",
               toep = "toeph", homtoep = "toep", ou = "car1", exp = "sp_exp", gau = "sp_gau", mat = "sp_mat")

tmb_terms <- function(fit, structure, effects) {
  code <- vapply(structure, function(s) names(s$blockCode), "")
  if (any(bad <- !code %in% names(tmb_kinds)))
    refuse("the random effects ", names(structure)[bad][1], " have structure '", code[bad][1], "'; ",
           paste(names(tmb_kinds), collapse = ", "), " can be read")
  counts <- vapply(structure, function(s) as.integer(s$blockNumTheta), 0L)
  theta <- split(unname(glmmTMB::getME(fit, "theta")), factor(rep(seq_along(counts), counts), seq_along(counts)))
  sizes <- lengths(effects$cnms)
  covs <- lapply(seq_along(code), function(k) tmb_covariance(code[k], theta[[k]], sizes[[k]], structure[[k]]))
  terms <- terms_of(glmmTMB::getME(fit, "Z"), effects$cnms, effects$flist, covs, unname(tmb_kinds[code]))
  for (k in seq_along(terms)) {
    terms[[k]]$written <- names(structure)[k]
    if (sizes[[k]] == 1) next
    if (code[k] == "ou") terms[[k]]$positions <- I(as.numeric(structure[[k]]$times))
    if (code[k] %in% c("exp", "gau", "mat")) {
      places <- as.matrix(glmmTMB::parseNumLevels(sub("^[^(]*", "", effects$cnms[[k]])))
      terms[[k]]$positions <- if (ncol(places) == 1) I(as.numeric(places)) else plain(places)
      terms[[k]]$dimensions <- ncol(places)
    } else if (code[k] == "ou") terms[[k]]$dimensions <- 1
    if (code[k] == "mat") {
      terms[[k]]$smoothness <- exp(theta[[k]][3])
      terms[[k]]$message <- "the smoothness of a Matern covariance was estimated by glmmTMB; here it is a given number"
    }
  }
  terms
}

# Sigma of a term by glmmTMB's own parameters: VarCorr() leaves some of it out.
tmb_covariance <- function(code, theta, n, structure) {
  own <- code %in% c("us", "diag", "cs", "toep", "hetar1")
  sd <- exp(if (own) theta[seq_len(n)] else rep(theta[1], n))
  rest <- theta[-seq_len(if (own) n else 1)]
  lag <- abs(outer(seq_len(n), seq_len(n), "-"))
  bounded <- rest / sqrt(1 + rest^2)
  corr <- if (code == "us") {
    L <- diag(n)
    L[upper.tri(L)] <- rest              # row by row of the lower triangle
    stats::cov2cor(crossprod(L))
  } else switch(sub("^(hom|het)", "", code),
    diag = diag(n), cs = { a <- 1 / (n - 1); ifelse(lag == 0, 1, stats::plogis(rest) * (1 + a) - a) },
    ar1 = bounded^lag, toep = matrix(c(1, bounded)[lag + 1], n),
    ou = exp(-exp(rest) * abs(outer(structure$times, structure$times, "-"))),
    exp = exp(-structure$dist * exp(-rest)), gau = exp(-structure$dist^2 * exp(-2 * rest)),
    mat = {
      x <- ifelse(lag == 0, 1, structure$dist) / exp(rest[1])
      ifelse(lag == 0, 1, x^exp(rest[2]) * besselK(x, exp(rest[2])) / (2^(exp(rest[2]) - 1) * gamma(exp(rest[2]))))
    })
  outer(sd, sd) * matrix(corr, n)
}

# dispformula = ~ 0: sigma is next to nothing, and a term whose columns are positions is the residual.
tmb_zero_dispersion <- function(fit, structure, terms, effects) {
  sigma <- stats::sigma(fit)
  if (is.null(sigma) || !is.finite(sigma)) sigma <- .Machine$double.eps^0.25
  by_position <- vapply(terms, function(t) ncol(t$values) > 1 && t$kind != "homdiag" && all(t$values %in% c(0, 1)) &&
    all(rowSums(t$values) == 1) && !anyDuplicated(cbind(as.integer(t$factor), max.col(t$values))), NA)
  if (!any(by_position))
    refuse("its residual variance is fixed next to 0 (dispformula = ~ 0) and no random term has a column for each position, ",
           "with one row at each position of a level, to be the covariance of the residuals")
  k <- which(by_position)[which.max(vapply(terms[by_position], function(t) nlevels(t$factor), 0L))]
  term <- terms[[k]]
  if (term$kind == "diag") refuse("its residuals are diag() with dispformula = ~ 0; dispformula = ~ 0 + position is the same")
  variable <- all.vars(str2lang(sub("\\s*\\|.*$", "", names(structure)[k])))
  if (length(variable) != 1) variable <- "position"
  column <- max.col(term$values)
  labels <- effects$cnms[[k]]
  if (is.null(term$positions)) {
    known <- if (is.factor(fit$frame[[variable]])) levels(fit$frame[[variable]]) else sub(paste0("^", variable), "", labels)
    if (length(known) != length(labels)) known <- labels
    columns <- stats::setNames(list(factor(known[column], known)), variable)
  } else {
    places <- matrix(as.numeric(if (is.matrix(term$positions)) term$positions else unclass(term$positions)), length(labels))
    columns <- lapply(seq_len(ncol(places)), function(j) places[column, j])
    names(columns) <- if (ncol(places) == 1) variable else paste0(variable, ".", seq_along(columns))
  }
  series <- gsub(":", ".", term$group)
  columns[[series]] <- term$factor
  quoted <- ifelse(grepl("^[A-Za-z.][A-Za-z0-9._]*$", names(columns)), names(columns), paste0("`", names(columns), "`"))
  cov <- term$cov
  if (term$kind == "us") diag(cov) <- diag(cov) + sigma^2
  corr <- stats::cov2cor(cov)
  sds <- sqrt(diag(cov))
  far <- term$kind %in% c("car1", "sp_exp", "sp_gau", "sp_mat")
  value <- switch(term$kind, us = corr[upper.tri(corr)], toep = , toeph = corr[1, -1], corr[1, 2])
  if (far) {
    distance <- sqrt(sum((places[1, ] - places[2, ])^2))
    value <- switch(term$kind, car1 = value^(1 / distance), sp_exp = -distance / log(value),
                    sp_gau = distance / sqrt(-log(value)),
                    refuse("its residuals are mat() with dispformula = ~ 0, whose smoothness would be an estimate"))
  }
  heterogeneous <- term$kind %in% c("us", "csh", "ar1h", "toeph")
  list(term = k, sigma = sds[1], residual = list(
    form = paste0(term$kind, "(", paste(quoted[-length(quoted)], collapse = " + "), " | ", quoted[length(quoted)], ")"),
    columns = columns, sd = if (heterogeneous) sds, corr = value))
}

# log sigma of the rows = X b: strata of factors, exponents of covariates.
tmb_dispersion <- function(fit, info) {
  disp <- info$allForm$dispformula
  if (text(disp) == "~1") return(list(sigma = stats::sigma(fit)))
  if (length(info$reStruc$dispReStruc) || any(grepl("|", text(disp), fixed = TRUE)))
    refuse("its residual variance has random effects (dispformula)")
  if ("offset" %in% all.names(disp)) refuse("its residual variance has an offset (dispformula)")
  numbers <- fit$obj$env$data
  Xd <- as.matrix(if (!is.null(numbers$Xdisp)) numbers$Xdisp else numbers$Xd)
  made_by <- info$packageVersion
  if (is.null(made_by)) made_by <- utils::packageVersion("glmmTMB")
  b <- unname(glmmTMB::fixef(fit)$disp) * if (package_version(as.character(made_by)) >= "1.1.9") 1 else 0.5   # a variance before
  scale <- scale_model(disp, fit$frame, Xd, attr(Xd, "assign"), "dispformula")
  found <- scale$values(b)
  list(sigma = exp(found$log_sd[1]), messages = if (scale$additive)
         "dispformula as fitted adds factors up; strata have an SD for each combination, and their own optimum may be another",
       residual = list(sd_form = scale$sd_form, columns = scale$columns, corr = found$exponents,
                       sd = if (!is.null(scale$strata)) exp(found$log_sd)))
}
