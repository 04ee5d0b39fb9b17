# ---------------------------------------------------------------- correlation and variance of nlme's residuals

# R = D C D in bayesv's words, with the columns that they name and the parameters in the order of their labels.
nlme_residual <- function(model, used, sigma) {
  variance <- nlme_variance(model$varStruct, used, sigma)
  if (is.null(model$corStruct)) {
    if (!length(variance$forms)) return(list(weights = variance$weights))
    return(list(weights = variance$weights, residual = list(
      sd_form = paste(variance$forms, collapse = " * "), columns = variance$columns, sd = variance$sd,
      corr = variance$exponents)))
  }
  correlation <- nlme_correlation(model$corStruct, used)
  messages <- NULL
  if (correlation$kind == "us") {        # the visits have the SDs
    sds <- rep(variance$sigma, length(correlation$visits))
    if (!is.null(variance$sd)) {
      stratum <- split(as.character(variance$columns[[1]]), correlation$visit)
      if (any(lengths(lapply(stratum, unique)) > 1))
        refuse("its correlation is free (corSymm) and its strata of the variance (", names(variance$columns)[1],
               ") are not those of the positions: a covariance of that form is in no family here")
      sds <- unname(variance$sd[vapply(stratum, `[`, "", 1)])
    }
    if (length(unique(sds)) < length(sds))
      messages <- "corSymm() as fitted has fewer SDs than positions; 'us' has one for each, and its own optimum may be another"
    variance$forms <- setdiff(variance$forms, variance$strata)
    if (!is.null(variance$strata)) variance$columns <- variance$columns[-1]
    variance$sd <- sds
  }
  list(weights = variance$weights, messages = messages, residual = list(
    form = correlation$form, sd_form = paste(variance$forms, collapse = " * "),
    columns = c(correlation$columns, variance$columns[setdiff(names(variance$columns), names(correlation$columns))]),
    sd = variance$sd, corr = c(correlation$corr, variance$exponents)))
}

nlme_correlation <- function(structure, used) {
  if (isTRUE(attr(structure, "fixed"))) refuse("its correlation was given (fixed = TRUE), so that it is no estimate")
  refused <- c(corLin = "linear", corRatio = "rational quadratic", corSpher = "spherical")
  for (class in names(refused)) if (inherits(structure, class))
    refuse("its residuals have a ", refused[[class]], " correlation (", class, "); spatial ones here are corExp and corGaus")
  value <- stats::coef(structure, unconstrained = FALSE)
  order <- if (inherits(structure, "corARMA")) c(attr(structure, "p"), attr(structure, "q"))
  kind <- if (inherits(structure, "corCAR1")) "car1" else if (inherits(structure, "corExp")) "sp_exp" else
    if (inherits(structure, "corGaus")) "sp_gau" else if (inherits(structure, "corCompSymm")) "cs" else
    if (inherits(structure, "corSymm")) "us" else if (inherits(structure, "corAR1") || identical(order, c(1, 0))) "ar1" else
    if (identical(as.numeric(order), c(1, 0))) "ar1" else if (identical(as.numeric(order), c(0, 1))) "ma1" else
    if (identical(as.numeric(order), c(1, 1))) "arma11" else
    refuse("its residuals are of class ", class(structure)[1],
           if (!is.null(order)) paste0("(p = ", order[1], ", q = ", order[2], ")"),
           "; corAR1, corCAR1, corCompSymm, corSymm, corARMA up to (1, 1), corExp and corGaus can be read")
  form <- stats::formula(structure)
  place <- nlme::getCovariateFormula(form)
  series <- nlme::getGroupsFormula(form)
  columns <- list()
  column <- function(expression, convert) {
    name <- text(expression)
    columns[[name]] <<- convert(eval(expression, used, environment(form)))
    if (grepl("^[A-Za-z.][A-Za-z0-9._]*$", name)) name else paste0("`", name, "`")
  }
  within <- if (is.null(series)) "1" else
    paste(rev(vapply(summands(series[[2]], "/"), column, "", convert = as.factor)), collapse = ":")
  by_row <- identical(place[[2]], 1)
  spatial <- kind %in% c("sp_exp", "sp_gau")
  if (spatial && attr(structure, "metric") != "euclidean") refuse("distances are by metric ", attr(structure, "metric"))
  if (spatial && by_row) {               # rows are one apart
    columns[["row within series"]] <- within_series(columns, nrow(used))
    where <- "`row within series`"
  } else if (by_row && kind == "car1") refuse("corCAR1(form = ~ 1) counts rows; corAR1() is the same")
  else where <- if (by_row) "1" else paste(vapply(summands(place[[2]], "+"), column, "", convert = as.numeric), collapse = " + ")
  nugget <- spatial && isTRUE(attr(structure, "nugget"))
  result <- list(kind = kind, columns = columns,
                 form = paste0(kind, "(", where, " | ", within, if (nugget) ", nugget=True", ")"))
  corr <- unname(value)
  if (kind == "ma1") corr <- corr / (1 + corr^2)
  if (kind == "arma11") corr <- c(corr[1], (1 + prod(corr)) * sum(corr) / (1 + 2 * prod(corr) + corr[2]^2))
  if (kind == "us") {
    at <- if (by_row) within_series(columns, nrow(used)) else columns[[length(columns)]]
    result$visits <- sort(unique(at))
    result$visit <- match(at, result$visits)
    corr <- visit_correlations(corr, round(result$visits - min(result$visits)) + 1)
  }
  c(result, list(corr = corr))
}

# nlme has pairs (1, 2), (1, 3), ..., (2, 3), ...; here they stand row by row of the lower triangle.
visit_correlations <- function(pairs, visits) {
  size <- (1 + sqrt(1 + 8 * length(pairs))) / 2
  matrix <- diag(size)
  matrix[lower.tri(matrix)] <- pairs
  matrix <- (matrix + t(matrix) - diag(size))[visits, visits, drop = FALSE]
  matrix[upper.tri(matrix)]
}

# The number of each row within its series, in the order of the rows.
within_series <- function(columns, n) {
  series <- if (length(columns)) do.call(paste, c(lapply(columns, as.integer), sep = ":")) else rep("1", n)
  as.numeric(stats::ave(seq_len(n), series, FUN = seq_along))
}

# The parts of a + b or a/b.
summands <- function(e, operator) {
  if (is.call(e) && identical(e[[1]], as.name("("))) return(summands(e[[2]], operator))
  if (is.call(e) && identical(e[[1]], as.name(operator)) && length(e) == 3)
    return(c(summands(e[[2]], operator), summands(e[[3]], operator)))
  list(e)
}

# SDs of strata, exponents and known weights; sigma is that of a row whose factors are 1.
nlme_variance <- function(structure, used, sigma) {
  result <- list(sigma = sigma, weights = NULL, forms = NULL, columns = list(), sd = NULL, exponents = NULL)
  parts <- if (is.null(structure)) list() else if (inherits(structure, "varComb")) as.list(structure) else list(structure)
  strata <- NULL
  ratios <- rep(1, nrow(used))
  for (part in parts) {
    class <- intersect(class(part), c("varFixed", "varIdent", "varPower", "varExp"))[1]
    if (is.na(class)) refuse("its residual variance is modelled by ", class(part)[1],
                             "; varFixed, varIdent, varPower and varExp, and products of them, can be read")
    if (length(attr(part, "fixed"))) refuse("parameters of ", class, " were given (fixed = ), so that they are no estimates")
    form <- stats::formula(part)
    covariate <- nlme::getCovariateFormula(form)[[2]]
    groups <- nlme::getGroupsFormula(form)
    if (class == "varIdent") {
      if (is.null(groups)) next
      names <- summands(groups[[2]], "*")
      level <- do.call(paste, c(lapply(names, function(e) as.character(eval(e, used, environment(form)))), sep = "*"))
      ratio <- stats::coef(part, unconstrained = FALSE, allCoef = TRUE)
      ratios <- ratios * ratio[level]
      strata <- c(strata, stats::setNames(lapply(names, function(e) as.factor(eval(e, used, environment(form)))),
                                          vapply(names, text, "")))
      next
    }
    if (any(all.names(covariate) %in% c("fitted", "resid")))
      refuse("its residual variance is a function of the fitted values (", class, "), so that V depends on beta and REML is ",
             "not defined; give ", class, " a covariate")
    if (!is.null(groups)) refuse(class, " has a parameter for each level of ", text(groups[[2]]))
    x <- as.numeric(eval(covariate, used, environment(form)))
    if (class == "varFixed") {
      if (any(x <= 0)) refuse("varFixed needs a positive covariate")
      result$weights <- (if (is.null(result$weights)) 1 else result$weights) / x
      next
    }
    name <- text(covariate)
    if (class == "varPower" && any(x < 0)) {
      x <- abs(x)
      name <- paste0("abs(", name, ")")
    }
    result$columns[[name]] <- x
    shown <- if (grepl("^[A-Za-z.][A-Za-z0-9._]*$", name)) name else paste0("`", name, "`")
    result$forms <- c(result$forms, paste0(if (class == "varPower") "power(" else "exp(", shown, ")"))
    result$exponents <- c(result$exponents, unname(stats::coef(part, unconstrained = FALSE)))
  }
  if (is.null(strata)) return(result)
  strata <- strata[!duplicated(names(strata))]
  name <- paste(names(strata), collapse = ":")
  factor <- droplevels(if (length(strata) == 1) strata[[1]] else interaction(strata, sep = ":", lex.order = TRUE))
  sds <- sigma * vapply(split(unname(ratios), factor), `[`, 0, 1)
  if (nlevels(factor) == 1) {
    result$sigma <- unname(sds)
    return(result)
  }
  shown <- if (grepl("^[A-Za-z.][A-Za-z0-9._]*$", name)) name else paste0("`", name, "`")
  result$strata <- paste0("strata(", shown, ")")
  result$forms <- c(result$strata, result$forms)
  result$columns <- c(stats::setNames(list(factor), name), result$columns)
  result$sd <- sds
  result
}
