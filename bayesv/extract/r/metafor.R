# ---------------------------------------------------------------- metafor: sampling covariances are known

from_rma <- function(fit) {
  multivariate <- inherits(fit, "rma.mv")
  others <- c(rma.ls = "tau^2 is modelled (scale = )", rma.uni.selmodel = "it has a selection model",
              robust.rma = "its covariance of the estimates is a sandwich (robust()); export the fit itself",
              rma.mh = "it has no tau^2 (Mantel-Haenszel)", rma.peto = "it has no tau^2 (Peto)", rma.glmm = "its response is not Gaussian")
  for (class in names(others)) if (inherits(fit, class)) refuse(others[[class]])
  equal <- fit$method %in% c("FE", "EE", "CE")
  if (!fit$method %in% c("REML", "ML") && !equal)
    refuse("tau^2 was estimated by method \"", fit$method, "\", not by REML or ML; fit it by one of these")
  if (!isTRUE(fit$weighted) && !multivariate || !is.null(if (multivariate) fit$W else fit$weights))
    refuse("its estimates are weighted by weights of the user's, so that they are not GLS given V")
  given <- if (multivariate) unlist(fit$vc.fix[c(if (fit$withS) "sigma2", if (fit$withG) c("tau2", "rho"), if (fit$withH) c("gamma2", "phi"))]) else
    isTRUE(fit$tau2.fix) && !equal
  ruled <- multivariate && all(c(if (fit$withG) fit$struct[1], if (fit$withH) fit$struct[2]) %in% c("ID", "DIAG", "GDIAG"))
  if (ruled) given <- given[!grepl("^(rho|phi)", names(given))]
  if (any(given %in% TRUE)) refuse("some of its variance components were given, so that they are no estimates")
  X <- fit$X
  colnames(X) <- sub("^intrcpt$", "(Intercept)", colnames(X))
  n <- length(fit$yi)
  ids <- if (all(fit$not.na)) fit$ids else fit$ids[fit$not.na]
  data <- if (is.data.frame(fit$data) && max(ids) <= nrow(fit$data)) fit$data[ids, , drop = FALSE]
  call <- as.list(fit$call)$yi
  response <- if (is.name(call)) call else if (inherits(fit$formula.yi, "formula")) fit$formula.yi[[2]] else as.name("yi")
  mods <- if (inherits(fit$formula.yi, "formula")) fit$formula.yi else fit$formula.mods
  columns <- setdiff(colnames(X), "(Intercept)")
  right <- if (inherits(mods, "formula")) mods[[length(mods)]] else
    str2lang(paste(c(if (length(columns) < ncol(X)) "1" else "0", sprintf("`%s`", columns)), collapse = " + "))
  terms <- if (equal) list() else if (multivariate) rma_terms(fit) else list(list(
    group = "study", columns = "(Intercept)", kind = "us", cov = matrix(fit$tau2), values = matrix(1, n, 1),
    factor = rma_studies(fit, n)))
  variances <- if (multivariate) as.matrix(fit$V) else fit$vi
  diagonal <- !is.matrix(variances) || all(variances[row(variances) != col(variances)] == 0)
  method <- if (equal) "REML" else fit$method
  log_likelihood <- fit$fit.stats["ll", method]
  full <- is.null(fit$control$REMLf) || isTRUE(fit$control$REMLf)
  if (method == "REML" && full)          # metafor's REML has |X'X|, which lme4's and nlme's lack
    log_likelihood <- log_likelihood - as.numeric(determinant(crossprod(X))$modulus) / 2
  fixed <- eval(call("~", response, right))
  if (is.null(data)) data <- stats::setNames(data.frame(as.numeric(fit$yi)), text(response))
  row.names(data) <- as.character(ids)
  list(
    engine = "metafor", packages = "metafor", formula = with_random(fixed, terms), method = method,
    log_likelihood = log_likelihood, y = as.numeric(fit$yi), X = X, contrasts = NULL, terms = terms, sigma = 1,
    residual = if (diagonal) list(variances = if (is.matrix(variances)) diag(variances) else variances) else list(matrix = variances),
    beta = fit$beta[, 1], vcov = unname(fit$vb),
    other_cov = if (isTRUE(fit$test == "knha") || isTRUE(fit$test == "adhoc")) "Knapp and Hartung's, a multiple of it",
    converged = TRUE, messages = NULL, frame = droplevels(data), omitted = which(!fit$not.na), data = droplevels(data)
  )
}

rma_studies <- function(fit, n) {
  names <- as.character(fit$slab)
  if (length(names) != n && length(names) == length(fit$not.na)) names <- names[fit$not.na]
  if (length(names) != n || anyDuplicated(names)) names <- as.character(seq_len(n))
  factor(names, unique(names))
}

rma_terms <- function(fit) {
  terms <- list()
  if (fit$withS) for (k in seq_along(fit$sigma2)) {
    path <- strsplit(fit$s.names[[k]], "/", fixed = TRUE)[[1]]
    factor <- as.factor(fit$mf.s[[k]])
    parts <- strsplit(levels(factor), "/", fixed = TRUE)
    if (length(path) > 1 && all(lengths(parts) == length(path)))     # metafor's level outer/inner
      levels(factor) <- vapply(parts, function(p) paste(rev(p), collapse = ":"), "")
    group <- if (length(path) < 3) paste(rev(path), collapse = ":") else
      Reduce(function(outer, inner) paste0(inner, ":", if (grepl(":", outer)) paste0("(", outer, ")") else outer), path)
    terms[[length(terms) + 1]] <- list(group = group, columns = "(Intercept)", kind = "us", cov = matrix(fit$sigma2[k]),
                                       values = matrix(1, length(factor), 1), factor = factor,
                                       relationship = if (isTRUE(fit$Rfix[k])) rma_relationship(fit$R[[k]], factor))
  }
  if (fit$withG) terms <- c(terms, rma_inner(fit, "G", fit$struct[1]))
  if (fit$withH) terms <- c(terms, rma_inner(fit, "H", fit$struct[2]))
  terms
}

# R of the levels, in their order.
rma_relationship <- function(R, factor) {
  R <- as.matrix(R)
  if (!all(levels(factor) %in% rownames(R))) refuse("its R does not name the levels of its random effects")
  plain(R[levels(factor), levels(factor), drop = FALSE])
}

# ~ inner | outer: a column for each inner level, Sigma of the structure.
rma_inner <- function(fit, letter, struct) {
  kinds <- c(CS = "cs", HCS = "csh", UN = "us", ID = "homdiag", DIAG = "diag", AR = "ar1", HAR = "ar1h", CAR = "car1",
             SPEXP = "sp_exp", SPGAU = "sp_gau", GEN = "us", GDIAG = "diag")
  if (!struct %in% names(kinds)) refuse("its random effects have struct \"", struct, "\"; ", paste(names(kinds), collapse = ", "), " can be read")
  frame <- fit[[paste0("mf.", tolower(letter))]]
  values <- as.matrix(fit[[paste0("Z.", letter, "1")]])
  cov <- plain(as.matrix(fit[[letter]]))
  if (anyNA(cov)) refuse("its data leave elements of ", letter, " undetermined")
  names <- fit[[paste0(tolower(letter), ".names")]]
  outer <- as.factor(frame[[ncol(frame)]])
  kind <- kinds[[struct]]
  r <- ncol(cov)
  inner <- sub("^factor\\((.*)\\)$", "\\1", names[[1]])
  if (!is.factor(fit$data[[inner]]) && !is.character(fit$data[[inner]])) inner <- paste0("factor(", inner, ")")
  places <- NULL
  if (struct %in% c("SPEXP", "SPGAU")) {
    first <- max.col(t(values != 0), "first")
    places <- as.matrix(frame[first, -ncol(frame), drop = FALSE])
    columns <- apply(places, 1, function(p) paste0("place(", paste(format(p, digits = 15, trim = TRUE), collapse = ", "), ")"))
  } else if (struct %in% c("GEN", "GDIAG")) columns <- sub("^intrcpt$", "(Intercept)", colnames(values)) else {
    levels <- levels(as.factor(frame[[1]]))
    columns <- paste0(inner, levels)
    times <- suppressWarnings(as.numeric(levels))
    if (struct == "CAR") places <- matrix(times)
  }
  if (r > 30 && struct == "CS") return(rma_two(cov, outer, frame, names))
  list(list(group = gsub("/", ":", names[[length(names)]]), columns = columns, kind = if (r == 1) "us" else kind, cov = cov,
            written = if (!struct %in% c("GEN", "GDIAG")) paste("0 +", inner),
            positions = if (!is.null(places)) if (ncol(places) == 1) I(as.numeric(places)) else plain(places),
            dimensions = if (!is.null(places)) ncol(places), values = unname(values), factor = outer))
}

# Compound symmetry of many levels: an effect of the outer level, and one of each inner level within it.
rma_two <- function(cov, outer, frame, names) {
  if (cov[1, 2] < 0) refuse("struct \"CS\" with ", ncol(cov), " levels and a negative correlation")
  inner <- interaction(frame[[1]], outer, sep = ":", drop = TRUE)
  one <- matrix(1, length(outer), 1)
  label <- sub("^factor\\((.*)\\)$", "\\1", names[[1]])
  list(list(group = names[[2]], columns = "(Intercept)", kind = "us", cov = matrix(cov[1, 2]), values = one, factor = outer),
       list(group = paste0(label, ":", names[[2]]), columns = "(Intercept)", kind = "us",
            cov = matrix(cov[1, 1] - cov[1, 2]), values = one, factor = inner))
}
