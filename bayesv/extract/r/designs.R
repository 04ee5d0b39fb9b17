# Terms of lme4's Z: term by term, level by level, so row i holds its r values in the columns of its level.
terms_of <- function(Z, cnms, flist, covs, kinds = rep("us", length(cnms))) {
  assign <- attr(flist, "assign")
  if (is.null(assign)) assign <- seq_along(flist)
  start <- 0
  terms <- lapply(seq_along(cnms), function(k) {
    f <- as.factor(flist[[assign[k]]])
    r <- length(cnms[[k]])
    code <- as.integer(f)
    if (anyNA(code))
      refuse(sprintf("%d rows have no level of '%s' (NA as a level, as by addNA()) and so no random effect; give them a level of their own",
                     sum(is.na(code)), names(flist)[assign[k]]))
    values <- vapply(seq_len(r), function(j) as.numeric(Z[cbind(seq_along(code), start + (code - 1) * r + j)]),
                     numeric(length(code)))
    start <<- start + nlevels(f) * r
    list(group = names(flist)[assign[k]], name = names(cnms)[k], columns = cnms[[k]],
         kind = if (r == 1) "us" else kinds[[k]], cov = covs[[k]], factor = droplevels(f), values = values)
  })
  if (sum(Z != 0) > sum(vapply(terms, function(t) sum(t$values != 0), 0)))
    refuse("a row of Z has effects of several levels of one factor (smooth terms, multiple membership)")
  terms
}

coded <- function(formula, data, contrasts) {
  formula <- formula[c(1, length(formula))]        # the right side
  frame <- stats::model.frame(formula, data)
  stats::model.matrix(formula, frame, contrasts.arg = contrasts[intersect(names(contrasts), names(frame))])
}

with_random <- function(fixed, terms) {
  if (!length(terms)) return(fixed)
  parts <- vapply(terms, function(t) {
    columns <- setdiff(t$columns, "(Intercept)")
    left <- if (!is.null(t$written)) t$written else
      paste(c(if ("(Intercept)" %in% t$columns) "1" else "0", columns), collapse = " + ")
    if (!t$kind %in% c("us", "diag")) return(paste0(t$kind, "(", left, " | ", t$group, ")"))
    paste0("(", left, if (t$kind == "us") " | " else " || ", t$group, ")")
  }, "")
  stats::as.formula(paste(text(fixed), "+", paste(parts, collapse = " + ")), environment(fixed))
}

# How each factor is coded: as the model matrix says, else as the factor itself, else R's option.
coding <- function(factors, given) {
  rest <- setdiff(names(factors), names(given))
  given[rest] <- lapply(factors[rest], function(v)
    if (is.null(attr(v, "contrasts"))) getOption("contrasts")[[1 + is.ordered(v)]] else attr(v, "contrasts"))
  lapply(given, function(how) {
    if (is.character(how)) return(how)
    same <- is.matrix(how) && isTRUE(all.equal(unname(how), unname(stats::contr.treatment(nrow(how)))))
    if (same) "contr.treatment" else "other"
  })
}

# a + b + c without brackets around sums: lme4 writes (x || g) as ((1 | g) + (0 + x | g)).
flat <- function(e) {
  is_call <- function(e, name) is.call(e) && identical(e[[1]], as.name(name))
  add <- function(a, b) if (is_call(b, "+") && length(b) == 3) call("+", add(a, b[[2]]), b[[3]]) else call("+", a, b)
  if (is_call(e, "(") && is_call(e[[2]], "+")) return(flat(e[[2]]))
  if (is_call(e, "-") && length(e) == 3) return(call("-", flat(e[[2]]), e[[3]]))
  if (is_call(e, "+") && length(e) == 3) add(flat(e[[2]]), flat(e[[3]])) else e
}

evaluated <- function(name, formula) {
  tryCatch(eval(name, environment(formula), globalenv()), error = function(e) NULL)
}

# The formula's variables in the rows used; from the model frame if the data are gone or have changed.
original <- function(data, frame, variables) {
  rows <- row.names(frame)
  frame <- vectors(frame)
  plain_columns <- intersect(names(frame), variables)
  if (is.data.frame(data)) {
    data <- vectors(data)
    if (all(variables %in% names(data)) && all(rows %in% row.names(data))) {
      found <- data[rows, variables, drop = FALSE]
      same <- vapply(plain_columns, function(v) identical(as.character(found[[v]]), as.character(frame[[v]])), NA)
      if (all(same)) return(list(table = found, kind = "original"))
    }
  }
  list(table = frame[plain_columns], kind = "model frame")
}

# The columns that are vectors, or matrices of one column, as scale() makes them.
vectors <- function(frame) {
  frame <- as.data.frame(frame)
  frame[] <- lapply(frame, function(v) if (is.matrix(v) && ncol(v) == 1) v[, 1] else v)
  frame[vapply(frame, function(v) is.null(dim(v)), NA)]
}

design_table <- function(parts, rows) {
  columns <- list("row names" = rows, y = parts$y)
  if (!is.null(parts$weights)) columns$weights <- as.numeric(parts$weights)
  if (!is.null(parts$offset)) columns$offset <- as.numeric(parts$offset)
  for (name in names(parts$residual$columns)) {
    column <- parts$residual$columns[[name]]
    columns[[paste0("residual[", name, "]")]] <- if (is.factor(column)) as.character(column) else as.numeric(column)
  }
  if (!is.null(parts$residual$variances)) columns[["known variance"]] <- as.numeric(parts$residual$variances)
  for (j in seq_len(ncol(parts$X))) columns[[paste0("X[", colnames(parts$X)[j], "]")]] <- as.numeric(parts$X[, j])
  for (t in parts$terms) {
    columns[[paste0("level[", t$group, "]")]] <- as.integer(t$factor)
    for (j in seq_along(t$columns)) columns[[paste0("Z[", t$group, ": ", t$columns[j], "]")]] <- t$values[, j]
  }
  as.data.frame(columns, optional = TRUE, stringsAsFactors = FALSE)
}

# What fit.json says of residuals with a structure, or of known ones.
residual_record <- function(residual) {
  if (is.null(residual)) return(NULL)
  if (!is.null(residual$matrix)) return(list(known = "matrix"))
  if (!is.null(residual$variances)) return(list(known = "variances"))
  factors <- Filter(is.factor, residual$columns)
  list(form = if (length(residual$form)) residual$form else "",
       sd_form = if (length(residual$sd_form)) residual$sd_form else "",
       levels = lapply(factors, function(f) I(levels(f))),
       numbers = I(as.character(setdiff(names(residual$columns), names(factors)))),
       sd = if (!isTRUE(residual$drawn)) I(unname(as.numeric(residual$sd))),
       corr = if (!isTRUE(residual$drawn)) I(unname(as.numeric(residual$corr))))
}

# Rows, columns and values of a symmetric matrix on and below its diagonal.
triangle <- function(V) {
  V <- as.matrix(V)
  places <- which(V != 0 & row(V) >= col(V), arr.ind = TRUE)
  data.frame(row = places[, 1], column = places[, 2], value = V[places])
}

# Known relationships of the levels of terms, numbered as in fit.json: elements on and below the diagonal.
relationships <- function(terms) {
  tables <- lapply(seq_along(terms), function(k)
    if (!is.null(terms[[k]]$relationship)) cbind(term = k, triangle(terms[[k]]$relationship)))
  do.call(rbind, tables)
}

# log SD of the rows = X b in bayesv's words: strata of factors, exponents of covariates. values(b) of a vector of
# coefficients, or of a matrix of draws, gives the log SDs of the strata (one number without) and the exponents.
scale_model <- function(formula, frame, X, of_term, where) {
  described <- stats::terms(formula)
  table <- attr(described, "factors")
  variables <- rownames(table)
  in_frame <- lapply(stats::setNames(nm = variables), function(v)
    if (v %in% names(frame)) frame[[v]] else eval(str2lang(v), frame, environment(formula)))
  is_factor <- vapply(in_frame, function(v) !is.numeric(v), NA)
  if (is.null(of_term)) of_term <- attr(stats::model.matrix(formula, frame), "assign")
  quoted <- function(v) ifelse(grepl("^[A-Za-z.][A-Za-z0-9._]*$", v), v, paste0("`", v, "`"))
  columns <- list()
  forms <- NULL
  of_exponents <- integer(0)
  for (j in seq_len(NCOL(table))) {
    inside <- variables[table[, j] > 0]
    if (all(is_factor[inside])) next
    column <- which(of_term == j)
    if (length(inside) > 1 || length(column) > 1)
      refuse("its residual variance is modelled by ", colnames(table)[j], " (", where, "); factors, and covariates that ",
             "are added to them, can be read")
    of_exponents <- c(of_exponents, column)
    logarithm <- grepl("^log\\(.*\\)$", inside)
    name <- if (logarithm) sub("^log\\((.*)\\)$", "\\1", inside) else inside
    columns[[name]] <- if (logarithm) exp(X[, column]) else X[, column]
    forms <- c(forms, paste0(if (logarithm) "power(" else "exp(", quoted(name), ")"))
  }
  rest <- setdiff(seq_len(ncol(X)), of_exponents)
  strata <- name <- NULL
  rows <- 1                              # one of each stratum
  if (any(is_factor)) {
    levels <- lapply(variables[is_factor], function(v) as.factor(in_frame[[v]]))
    strata <- droplevels(if (length(levels) == 1) levels[[1]] else interaction(levels, sep = ":", lex.order = TRUE))
    name <- paste(variables[is_factor], collapse = ":")
    columns <- c(stats::setNames(list(strata), name), columns)
    rows <- match(levels(strata), strata)
  }
  values <- function(b) {
    b <- if (is.matrix(b)) b else matrix(b, 1)
    list(log_sd = b[, rest, drop = FALSE] %*% t(X[rows, rest, drop = FALSE]), exponents = b[, of_exponents, drop = FALSE])
  }
  list(sd_form = paste(c(if (!is.null(strata)) paste0("strata(", quoted(name), ")"), forms), collapse = " * "),
       columns = columns, strata = strata, forms = forms, name = name, values = values,
       additive = !is.null(strata) && length(rest) < nlevels(strata))
}
