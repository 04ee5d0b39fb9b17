# ---------------------------------------------------------------- residuals of brms

# The term of autocorrelation: its class, time, series, order; NULL if there is none.
brms_series <- function(formula) {
  if (is.null(formula) || !length(all.vars(formula))) return(NULL)
  parts <- summands(formula[[2]], "+")
  if (length(parts) > 1) refuse("it has several terms of autocorrelation")
  term <- eval(parts[[1]], asNamespace("brms"))
  class <- sub("_term$", "", class(term)[1])
  if (!class %in% c("arma", "cosy", "unstr", "fcor"))
    refuse("it has autocorrelation ", text(parts[[1]]), "; ar(), ma(), arma(), cosy(), unstr() and fcor() can be read")
  if (class == "arma" && max(term$p, term$q) > 1)
    refuse("its residuals are ", text(parts[[1]]), "; p and q of at most 1 can be read")
  if (class == "arma" && !isTRUE(term$cov) && term$q > 0)
    refuse("its residuals are ", text(parts[[1]]), ": with cov = FALSE a series begins with an error that has none before ",
           "it, and no family here has that covariance; fit it with cov = TRUE")
  known <- function(name) if (is.null(name) || name %in% c("", "NA")) NULL else name
  list(class = class, time = known(term$time), group = known(term$gr), p = term$p, q = term$q,
       past = class == "arma" && !isTRUE(term$cov), written = text(parts[[1]]), M = term$M)
}

# Which rows of the data, in the user's order as far as it is known, and where Stan's numbers have them: sorted by
# series and time; newer versions of brms sort the data of a fit, too.
brms_rows <- function(data, series) {
  sorted <- seq_len(nrow(data))
  if (length(series$time) || length(series$group)) {
    time <- if (length(series$time)) data[[series$time]] else seq_len(nrow(data))
    sorted <- do.call(order, c(if (length(series$group)) list(data[[series$group]]), list(time)))
  }
  names <- row.names(data)
  own <- if (all(grepl("^[0-9]+$", names))) order(as.numeric(names)) else seq_along(names)
  list(data = own, numbers = match(own, sorted))
}

# R in bayesv's words: residual, weights, scale (draws of its parameters), terms beside known variances, messages.
brms_residual <- function(parsed, series, numbers, rows, data, data2, draws) {
  weights <- NULL
  if (identical(series$class, "fcor")) {
    weights <- brms_known_weights(numbers$Mfcor, rows)
    series <- NULL
  }
  model <- brms_sigma(parsed, numbers, rows, data, draws)
  form <- if (!is.null(series)) brms_correlation(series, data, draws, model)
  if (!is.null(numbers$se)) return(brms_beside_known(as.numeric(numbers$se)[rows]^2, form, model, data))
  if (is.null(form) && !nzchar(model$sd_form))
    return(list(weights = weights, scale = list(sigma = model$sd[, 1])))
  columns <- c(form$columns, model$columns[setdiff(names(model$columns), names(form$columns))])
  sd <- if (is.null(form)) model$sd else form$sd
  labelled <- !is.null(model$strata) || isTRUE(form$by_visit)
  corr <- cbind(form$corr, model$exponents)
  numbered <- function(what, values)
    stats::setNames(as.list(as.data.frame(values)), if (NCOL(values)) paste0(what, "[", seq_len(NCOL(values)), "]"))
  list(weights = weights, messages = c(model$messages, form$messages),
       residual = list(form = form$form, sd_form = if (is.null(form)) model$sd_form else form$sd_form, columns = columns, drawn = TRUE),
       scale = c(if (labelled) numbered("residual sd", sd) else list(sigma = sd[, 1]), numbered("residual corr", corr)))
}

# sigma as modelled: draws of the SDs of strata, or of the one, and of exponents.
brms_sigma <- function(parsed, numbers, rows, data, draws) {
  n <- prod(dim(draws)[1:2])
  X <- numbers$X_sigma
  if (is.null(X) && is.null(parsed$dpars$sigma)) {
    known <- isTRUE(as.numeric(numbers$se)[1] > 0) && !brms_adds_sigma(parsed)
    return(list(sd = if (!known) cbind(chosen(draws, "sigma")), exponents = matrix(0, n, 0), sd_form = "", columns = list(), known = known))
  }
  b <- vapply(colnames(X), function(name) chosen(draws, paste0("b_sigma_", name)), numeric(n))
  scale <- scale_model(parsed$dpars$sigma$fe, data, X[rows, , drop = FALSE], attr(X, "assign"), "sigma ~")
  found <- scale$values(matrix(b, n))
  list(sd = exp(found$log_sd), exponents = found$exponents, sd_form = scale$sd_form, columns = scale$columns, strata = scale$strata,
       name = scale$name, forms = scale$forms, known = FALSE, messages = if (scale$additive)
         "sigma as modelled adds factors up; strata have an SD for each combination")
}

brms_adds_sigma <- function(parsed) {
  term <- eval(parsed$adforms$se[[2]], asNamespace("brms"))
  isTRUE(term$flags$sigma)
}

brms_known_weights <- function(M, rows) {
  M <- as.matrix(M)[rows, rows, drop = FALSE]
  if (any(M[row(M) != col(M)] != 0))
    refuse("its residuals have the covariance sigma^2 M with a given matrix M (fcor) that is not diagonal; a given covariance ",
           "of residuals has no scale to be estimated here")
  1 / diag(M)
}

# Correlation within series: text, columns, and draws of the SDs and of the parameters of the correlation.
brms_correlation <- function(series, data, draws, model) {
  group <- if (length(series$group)) as.factor(data[[series$group]]) else factor(rep("1", nrow(data)))
  time <- if (length(series$time)) data[[series$time]] else seq_len(nrow(data))
  place <- stats::ave(seq_len(nrow(data)), group, FUN = function(i) rank(xtfrm(time[i]), ties.method = "first"))
  quoted <- function(v) ifelse(grepl("^[A-Za-z.][A-Za-z0-9._]*$", v), v, paste0("`", v, "`"))
  columns <- list()
  within <- "1"
  if (length(series$group)) {
    within <- gsub(":", ".", series$group)
    columns[[within]] <- droplevels(group)
  }
  # brms counts the rows of a series in the order of time: gaps do not count.
  if (!length(series$time)) where <- "1" else if (series$class == "unstr") {
    where <- series$time
    columns <- c(stats::setNames(list(droplevels(as.factor(time))), where), columns)
  } else {
    counts <- is.numeric(time) && all(time - stats::ave(time, group, FUN = min) == place - 1) &&
      (!series$past || length(unique(time[place == 1])) == 1)
    where <- if (counts) series$time else paste("order of", series$time)
    columns <- c(stats::setNames(list(if (counts) time else place), where), columns)
  }
  kind <- if (series$class == "cosy") "cs" else if (series$class == "unstr") "us" else if (series$past) "adh" else
    if (series$q == 0) "ar1" else if (series$p == 0) "ma1" else "arma11"
  shape <- brms_shape(kind, draws, max(place), model$sd)
  result <- list(kind = kind, columns = columns, sd_form = model$sd_form, sd = shape$sd, corr = shape$corr,
                 by_visit = kind %in% c("us", "adh"), group = group, place = place, within = within, where = where,
                 form = paste0(kind, "(", if (where == "1") where else quoted(where), " | ",
                               if (within == "1") within else quoted(within), ")"))
  if (kind == "us") return(brms_visits(result, model, as.factor(time)))
  if (kind == "adh") {
    if (nzchar(model$sd_form)) refuse("its residuals are ", series$written, " with a modelled sigma; fit it with cov = TRUE")
    if (max(place) > 60) refuse("its residuals are ", series$written, ", and a series has ", max(place), " rows: with cov = FALSE ",
                                "each place in a series has an SD of its own; fit it with cov = TRUE")
    result$messages <- paste0(series$written, " begins with an error of SD sigma, so that SDs grow along a series: read as ",
                              "ante-dependence of the places, which has more parameters than were fitted")
  }
  result
}

# Draws of marginal SDs and of correlation parameters; brms's sigma is the SD of the innovations of ar(), ma() and arma().
brms_shape <- function(kind, draws, m, sigma) {
  number <- function(name) chosen(draws, name)
  if (kind == "cs") return(list(sd = sigma, corr = cbind(number("cosy"))))
  if (kind == "us") {                    # row by row of the lower triangle
    names <- grep("^cortime__", dimnames(draws)[[3]], value = TRUE)
    return(list(sd = sigma, corr = vapply(names, number, numeric(prod(dim(draws)[1:2])))))
  }
  phi <- if (kind == "ma1") 0 else number("ar[1]")
  theta <- if (kind %in% c("ma1", "arma11")) number("ma[1]") else 0
  if (kind == "adh") {
    variances <- t(apply(outer(phi^2, seq_len(m) - 1, "^"), 1, cumsum))
    sd <- as.numeric(sigma) * sqrt(matrix(variances, ncol = m))
    return(list(sd = sd, corr = phi * sd[, -m, drop = FALSE] / sd[, -1, drop = FALSE]))
  }
  total <- 1 + theta^2 + 2 * phi * theta
  first <- (1 + phi * theta) * (phi + theta) / total
  list(sd = if (!is.null(sigma)) sigma * sqrt(total / (1 - phi^2)),
       corr = cbind(if (kind != "ma1") phi, if (kind != "ar1") first))
}

# Free correlations: the visits have the SDs, so that strata of sigma have to be theirs.
brms_visits <- function(result, model, visit) {
  visit <- droplevels(visit)
  first <- match(levels(visit), visit)
  if (is.null(model$strata)) {
    result$sd <- result$sd[, rep(1, length(first)), drop = FALSE]
    result$messages <- "unstr() as fitted has one sigma; 'us' has an SD for each visit"
    return(result)
  }
  stratum <- as.integer(model$strata)
  if (any(stratum != stratum[first][visit]))
    refuse("its correlation is free (unstr) and its sigma (", model$name, ") is not one of the visits: ",
           "a covariance of that form is in no family here")
  result$sd <- result$sd[, stratum[first], drop = FALSE]
  result$sd_form <- paste(model$forms, collapse = " * ")
  result
}

# Known variances; what varies beside them is a random effect of rows, or of the places of a series.
brms_beside_known <- function(variances, form, model, data) {
  if (any(variances <= 0)) refuse(sum(variances <= 0), " rows have se() of 0; leave se() out, or these rows")
  result <- list(residual = list(variances = variances), messages = model$messages, scale = list())
  if (model$known && !is.null(form)) refuse("it has autocorrelation beside se(sigma = FALSE), so that sigma is 0")
  if (model$known) return(result)
  if (length(model$forms) || (!is.null(form) && nzchar(model$sd_form)))
    refuse("it has se(sigma = TRUE) and a sigma modelled by ", model$sd_form, "; beside known variances sigma of strata can be read, ",
           "without autocorrelation")
  n <- nrow(data)
  if (is.null(form)) {
    strata <- if (is.null(model$strata)) factor(rep("(Intercept)", n)) else model$strata
    values <- outer(as.integer(strata), seq_len(nlevels(strata)), "==") * 1
    names <- paste0(if (!is.null(model$strata)) model$name, levels(strata))
    sd <- model$sd
    term <- list(group = "row", columns = names, kind = if (length(names) == 1) "us" else "diag", values = values,
                 factor = factor(row.names(data), row.names(data)), draws = function(i, j) if (i == j) sd[, i]^2 else 0 * sd[, 1])
  } else term <- brms_places(form)
  result$terms <- list(term)
  result$messages <- c(result$messages, paste0("se(sigma = TRUE): the known variances are R, and what has sigma is the random effect of ",
                                               term$group))
  result
}

brms_places <- function(form) {
  m <- if (form$kind == "us") ncol(form$sd) else max(form$place)
  at <- if (form$kind == "us") as.integer(form$columns[[1]]) else form$place
  labels <- if (form$kind == "us") levels(form$columns[[1]]) else seq_len(m)
  correlation <- function(i, j) {
    if (i == j) return(1)
    if (form$kind == "us") return(form$corr[, (i - 1) * (i - 2) / 2 + j])
    lag <- i - j
    switch(form$kind, cs = form$corr[, 1], ar1 = form$corr[, 1]^lag, ma1 = if (lag == 1) form$corr[, 1] else 0,
           arma11 = form$corr[, 2] * form$corr[, 1]^(lag - 1))
  }
  sd <- form$sd[, rep_len(seq_len(ncol(form$sd)), m), drop = FALSE]
  list(group = form$within, columns = paste0(form$where, labels), kind = form$kind, values = outer(at, seq_len(m), "==") * 1,
       factor = form$group, draws = function(i, j) sd[, i] * sd[, j] * correlation(i, j))
}
