# Writes a mixed model fitted in R to a folder that bayesv reads: bv.read_fit("folder").
#
#   source("bayesv_export.R")
#   bayesv_export(fit, "folder")
#
# fit: lmer (lme4, lmerTest), lme (nlme), glmmTMB, brm (brms), stan_lmer or stan_glmer (rstanarm).
# Needs nothing beyond base R and the package that made the fit. The folder gets
#   fit.json        what was fitted and what was found, numbers with 17 significant digits
#   design.csv.gz   y, X, columns and levels of every random term, weights, offset: R's own coding
#   data.csv.gz     the variables of the rows used, as far as the data can still be found
#   draws.csv.gz    draws of beta, Sigma and sigma by chain (brms, rstanarm)
# A fit without a marginal covariance V = Z G Z' + R of this form is refused with the reason.

bayesv_export <- local({

export <- function(fit, path, overwrite = FALSE) {
  if (!is.character(path) || length(path) != 1) stop("path must be the name of a folder.", call. = FALSE)
  if (file.exists(file.path(path, "fit.json")) && !overwrite)
    stop("'", path, "' holds an exported fit already; choose another folder or set overwrite = TRUE.",
         call. = FALSE)
  parts <- read_parts(fit)
  check_names(parts)
  parts$formula[[3]] <- flat(parts$formula[[3]])
  # All is written beside, and takes its place when it is whole.
  dir.create(dirname(path), showWarnings = FALSE, recursive = TRUE)
  part <- tempfile(paste0(".", basename(path), "."), tmpdir = dirname(path))
  if (!dir.create(part, showWarnings = FALSE, mode = "0700"))
    stop("nothing can be written beside '", path, "'.", call. = FALSE)
  on.exit(unlink(part, recursive = TRUE))
  rows <- row.names(parts$frame)
  data <- original(parts$data, parts$frame, all.vars(parts$formula))

  write_table(design_table(parts, rows), part, "design.csv.gz")
  write_table(cbind("row names" = rows, data$table), part, "data.csv.gz")
  if (!is.null(parts$draws)) write_table(parts$draws, part, "draws.csv.gz")

  factors <- Filter(function(v) is.factor(v) || is.character(v) || is.logical(v), as.list(data$table))
  record <- list(
    format = 1L,
    engine = parts$engine,
    class = class(fit)[1],
    versions = c(list(R = as.character(getRversion())), sapply(parts$packages, function(p)
      as.character(utils::packageVersion(p)), simplify = FALSE)),
    formula = text(parts$formula),
    response = text(parts$formula[[2]]),
    method = parts$method,
    log_likelihood = parts$log_likelihood,
    n_rows = length(parts$y),
    omitted = I(as.integer(parts$omitted)),
    na_action = if (length(parts$omitted)) class(parts$omitted)[1],
    beta = list(names = I(as.character(colnames(parts$X))), values = if (!is.null(parts$beta)) I(unname(parts$beta)),
                vcov = parts$vcov, aliased = I(as.character(parts$aliased))),
    terms = lapply(parts$terms, function(t) list(
      group = t$group, columns = I(t$columns), correlated = t$correlated,
      cov = t$cov, levels = shown_levels(t$factor))),
    sigma = parts$sigma,
    weights = !is.null(parts$weights),
    offset = !is.null(parts$offset),
    data = data$kind,
    factors = lapply(factors, function(v) shown_levels(as.factor(v))),
    contrasts = coding(factors, parts$contrasts),
    converged = parts$converged,
    messages = I(as.character(parts$messages))
  )
  write_whole(enc2utf8(json(record)), file.path(part, "fit.json"), file)
  put_in_place(part, path)
  message("Written to '", path, "'. In Python: bv.read_fit(\"", path, "\")")
  invisible(path)
}

# fit.json goes first and comes last: a folder that has one is whole.
put_in_place <- function(part, path) {
  names <- c("draws.csv.gz", "data.csv.gz", "design.csv.gz", "fit.json")
  dir.create(path, showWarnings = FALSE)
  unlink(file.path(path, rev(names)))
  for (name in names[file.exists(file.path(part, names))])
    if (!file.rename(file.path(part, name), file.path(path, name)))
      stop("'", path, "' cannot be written.", call. = FALSE)
}

# Connections do not say that a disk is full: what was written is read again.
write_whole <- function(lines, name, connection) {
  bytes <- charToRaw(paste0(lines, "\n", collapse = ""))
  to <- connection(name, open = "wb")
  tryCatch(writeBin(bytes, to), finally = close(to))
  from <- connection(name, open = "rb")
  back <- tryCatch(readBin(from, "raw", length(bytes) + 1), finally = close(from))
  if (!identical(bytes, back)) stop("'", name, "' cannot be written whole; is the disk full?", call. = FALSE)
}

# ---------------------------------------------------------------- which program made the fit

read_parts <- function(fit) {
  if (inherits(fit, c("glmerMod", "nlmerMod")))
    refuse("its response is not Gaussian with identity link, or its mean is not linear (glmer, nlmer)")
  if (inherits(fit, "lmerMod") && isS4(fit)) return(from_lme4(fit))
  if (inherits(fit, c("nlme", "gnls"))) refuse("its mean is not linear (nlme)")
  if (inherits(fit, "lme")) return(from_nlme(fit))
  if (inherits(fit, "glmmTMB")) return(from_glmmTMB(fit))
  if (inherits(fit, "brmsfit")) return(from_brms(fit))
  if (inherits(fit, "stanreg")) return(from_rstanarm(fit))
  refuse("its class is ", class(fit)[1],
         "; fits of lmer, lme, glmmTMB, brm, stan_lmer and stan_glmer can be exported")
}

# A factor f with a level 2 beside a variable f2: R names both coefficients f2.
check_names <- function(parts) {
  for (names in c(list(colnames(parts$X)), lapply(parts$terms, `[[`, "columns")))
    if (anyDuplicated(names))
      refuse("two of its coefficients are named '", names[duplicated(names)][1], "'; rename a variable and fit again")
}

refuse <- function(...) stop("bayesv_export cannot write this fit: ", ..., ".", call. = FALSE)

from_lme4 <- function(fit) {
  if (inherits(fit, "blmerMod")) refuse("it has priors (blme), so that its estimates are not those of REML or ML")
  X <- lme4::getME(fit, "X")
  cnms <- lme4::getME(fit, "cnms")
  r <- lengths(cnms)
  if (length(lme4::getME(fit, "theta")) != sum(r * (r + 1) / 2))
    refuse("a covariance of the random effects is structured, not free")
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
    terms = terms_of(lme4::getME(fit, "Z"), cnms, lme4::getME(fit, "flist"), lapply(covs, plain)),
    sigma = stats::sigma(fit), beta = lme4::fixef(fit), vcov = as.matrix(stats::vcov(fit)),
    converged = fit@optinfo$conv$opt == 0 && !any(grepl("failed to converge", messages)),
    messages = messages, frame = fit@frame, omitted = attr(fit@frame, "na.action"),
    data = evaluated(fit@call$data, stats::formula(fit))
  )
}

from_nlme <- function(fit) {
  loadNamespace("nlme")                  # its methods, if the fit comes from a file
  if (!is.null(fit$modelStruct$corStruct))
    refuse("its residuals are correlated (", class(fit$modelStruct$corStruct)[1], "), so R is not diagonal")
  if (isTRUE(attr(fit$modelStruct, "fixedSigma")))
    refuse("its residual SD was given (lmeControl(sigma = )), so that its estimates are not those of REML or ML")
  data <- if (is.null(fit$data)) evaluated(fit$call$data, stats::formula(fit)) else fit$data
  if (!is.data.frame(data) && !is.null(fit$call$data)) refuse("its data are gone; fit it with keep.data = TRUE")
  data <- as.data.frame(data)
  used <- droplevels(data[row.names(fit$fitted), , drop = FALSE])
  weights <- NULL
  if (!is.null(variance <- fit$modelStruct$varStruct)) {
    if (!inherits(variance, "varFixed"))
      refuse("its residual variance is modelled (", class(variance)[1], "), so R is not sigma^2 times known numbers")
    weights <- 1 / eval(nlme::getCovariateFormula(variance)[[2]], used, environment(stats::formula(fit)))
  }
  fixed <- stats::formula(fit)
  X <- coded(fixed, used, fit$contrasts)
  covs <- fit$modelStruct$reStruct
  terms <- list()
  outer <- NULL
  for (name in names(fit$groups)) {      # outermost first; nlme calls level b of a "a/b"
    level <- as.character(fit$groups[[name]])
    own <- if (is.null(outer)) level else substring(level, nchar(outer$level) + 2)
    label <- if (is.null(outer)) name else
      paste0(name, ":", if (grepl(":", outer$label)) paste0("(", outer$label, ")") else outer$label)
    shown <- if (is.null(outer)) own else paste(own, outer$shown, sep = ":")
    outer <- list(level = level, label = label, shown = shown)
    structure <- covs[[name]]
    free <- inherits(structure, c("pdSymm", "pdLogChol", "pdNatural"))
    cov <- plain(nlme::pdMatrix(structure)) * fit$sigma^2
    if (!free && !inherits(structure, "pdDiag") && nrow(cov) > 1)
      refuse("the covariance of the effects of ", name, " is structured (", class(structure)[1],
             "); free (pdSymm, pdLogChol) and diagonal (pdDiag) ones can be read")
    columns <- coded(stats::formula(structure), used, fit$contrasts)
    terms[[length(terms) + 1]] <- list(
      group = label, columns = colnames(columns), correlated = free || nrow(cov) == 1,
      written = if (free) text(stats::formula(structure)[[2]]), cov = cov, values = unname(columns), factor = factor(shown, unique(shown[order(fit$groups[[name]])])))
  }
  list(
    engine = "nlme", packages = "nlme", formula = with_random(fixed, terms), method = fit$method,
    log_likelihood = as.numeric(stats::logLik(fit)),
    y = as.numeric(eval(fixed[[2]], used, environment(fixed))), X = X, contrasts = attr(X, "contrasts"),
    weights = weights, offset = NULL, terms = terms, sigma = fit$sigma,
    beta = nlme::fixef(fit), vcov = fit$varFix, converged = TRUE, messages = NULL,
    frame = used, omitted = fit$na.action, data = used
  )
}

from_glmmTMB <- function(fit) {
  info <- fit$modelInfo
  if (info$family$family != "gaussian" || info$family$link != "identity")
    refuse("its family is ", info$family$family, " with link ", info$family$link, ", not gaussian with identity")
  if (text(info$allForm$ziformula) != "~0") refuse("it has zero inflation")
  if (text(info$allForm$dispformula) != "~1") refuse("its residual variance is modelled (dispformula)")
  if (length(info$priors)) refuse("it has priors, so that its estimates are not those of REML or ML")
  if (any(stats::model.weights(fit$frame) != 1))
    refuse("weights of glmmTMB are powers of the likelihood, not R = sigma^2/w; lmer(weights = ) has those")
  structure <- info$reStruc$condReStruc
  if (length(structure) == 0) refuse("it has no random effects")
  code <- vapply(structure, function(s) names(s$blockCode), "")
  if (any(bad <- !code %in% c("us", "diag")))
    refuse("the random effects ", names(structure)[bad][1], " have structure '", code[bad][1],
           "'; free (us) and diagonal (diag) covariances can be read")
  X <- as.matrix(glmmTMB::getME(fit, "X"))
  effects <- info$reTrms$cond
  offset <- fit$obj$env$data$offset      # not the frame's: offset = may stand there twice
  terms <- terms_of(glmmTMB::getME(fit, "Z"), effects$cnms, effects$flist,
                    lapply(glmmTMB::VarCorr(fit)$cond, plain), code == "us")
  list(
    engine = "glmmTMB", packages = "glmmTMB", formula = stats::formula(fit),
    method = if (info$REML) "REML" else "ML", log_likelihood = -fit$fit$objective,
    y = as.numeric(stats::model.response(fit$frame)), X = X, contrasts = attr(X, "contrasts"),
    weights = NULL, offset = if (any(offset != 0)) offset, terms = terms, sigma = stats::sigma(fit),
    beta = glmmTMB::fixef(fit)$cond[colnames(X)], vcov = plain(stats::vcov(fit)$cond),
    converged = fit$fit$convergence == 0, messages = if (fit$fit$convergence != 0) fit$fit$message,
    frame = fit$frame, omitted = attr(fit$frame, "na.action"),
    data = evaluated(fit$call$data, stats::formula(fit))
  )
}

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

from_brms <- function(fit) {
  parsed <- brms::brmsterms(fit$formula)
  if (inherits(parsed, "mvbrmsterms")) refuse("it has several responses")
  if (fit$family$family != "gaussian" || fit$family$link != "identity")
    refuse("its family is ", fit$family$family, " with link ", fit$family$link, ", not gaussian with identity")
  if (length(parsed$adforms))
    refuse("its response has ", names(parsed$adforms)[1], "(): weights() are powers of the likelihood, and the ",
           "others change it, so that R is not sigma^2 times known numbers")
  if (!identical(names(parsed$dpars), "mu")) refuse("its sigma is modelled")
  if (length(parsed$fdpars)) refuse("its sigma is fixed or tied")
  if (length(parsed$nlpars)) refuse("its mean is not linear")
  special <- c(sp = "special terms (mo, me, mi)", cs = "category-specific terms", sm = "smooth terms",
               gp = "Gaussian processes", ac = "autocorrelation")
  for (kind in names(special))
    if (length(all.vars(parsed$dpars$mu[[kind]]))) refuse("it has ", special[[kind]])
  if (identical(attr(fit$prior, "sample_prior"), "only")) refuse("its draws are of the prior (sample_prior = \"only\")")
  if (!identical(fit$algorithm, "sampling")) refuse("its draws are of algorithm '", fit$algorithm, "', not of MCMC")
  # From brms 2.22 on, a fit no longer carries the table of its group-level terms.
  effects <- if (!is.null(fit$ranef)) fit$ranef else
    utils::getFromNamespace("frame_re", "brms")(parsed, fit$data)
  if (NROW(effects) == 0) refuse("it has no group-level effects")
  set <- function(column) any(!effects[[column]] %in% c("", NA))
  if (any(effects$dist == "student")) refuse("group effects of gr(dist = \"student\") are not normal")
  if (set("by")) refuse("gr(by = ) gives a factor several covariances")
  if (set("cov")) refuse("gr(cov = ) correlates the levels of a factor")
  if (set("gtype")) refuse("mm() shares effects between levels of a factor")
  if (set("type")) refuse("a group-level term has special effects")

  numbers <- brms::standata(fit)
  X <- numbers$X
  if (is.null(X)) X <- matrix(0, length(numbers$Y), 0)
  coef <- colnames(X)
  colnames(X) <- names_in_R(coef, X, parsed$dpars$mu$fe, fit$data)
  terms <- lapply(unique(effects$id), function(id) {
    own <- effects[effects$id == id, ]
    group <- own$group[1]
    code <- as.integer(numbers[[paste0("J_", id)]])
    factors <- strsplit(group, ":", fixed = TRUE)[[1]]
    shown <- if (all(factors %in% names(fit$data)))
      do.call(paste, c(lapply(fit$data[factors], as.character), sep = ":")) else attr(effects, "levels")[[group]][code]
    values <- sapply(own$cn, function(k) as.numeric(numbers[[paste0("Z_", id, "_", k)]]))
    list(group = group, name = group, coef = own$coef, columns = names_in_R(own$coef, values, own$form[[1]], fit$data),
         correlated = isTRUE(own$cor[1]) || nrow(own) == 1, cov = NULL, values = values,
         factor = factor(shown, unique(shown[order(code)])))
  })
  draws <- as.array(fit)
  lower <- function(t, i, j) {           # row i, column j <= i
    sd <- function(k) chosen(draws, paste0("sd_", t$name, "__", t$coef[k]))
    if (i == j) return(sd(i)^2)
    if (!t$correlated) return(0 * sd(i))
    chosen(draws, paste0("cor_", t$name, "__", t$coef[j], "__", t$coef[i])) * sd(i) * sd(j)
  }
  offset <- numbers$offsets
  list(
    engine = "brms", packages = c("brms", fit$backend), formula = fit$formula$formula, method = "posterior",
    y = as.numeric(numbers$Y), X = X, contrasts = NULL, weights = NULL,
    offset = if (any(offset != 0)) as.numeric(offset), terms = terms,
    # b_Intercept is the intercept at zero: brms centres X for sampling only.
    draws = draws_table(draws, if (length(coef)) paste0("b_", coef), colnames(X), terms, lower),
    converged = TRUE, frame = fit$data, omitted = attr(fit$data, "na.action"), data = fit$data
  )
}

# brms writes I(x^2) as IxE2 and the level x/y as xDy: R's own names, where its columns are R's.
names_in_R <- function(names, values, formula, data) {
  columns <- tryCatch(coded(formula, data, NULL), error = function(e) NULL)
  same <- identical(dim(columns), dim(values)) && all(abs(columns - values) < 1e-9 * (1 + abs(values)))
  if (same) colnames(columns) else names
}

# ---------------------------------------------------------------- designs

# Terms of lme4's Z: term by term, level by level, so row i holds its r values in the columns of its level.
terms_of <- function(Z, cnms, flist, covs, free = rep(TRUE, length(cnms))) {
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
         correlated = free[[k]] || r == 1, cov = covs[[k]], factor = droplevels(f), values = values)
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
  parts <- vapply(terms, function(t) {
    columns <- setdiff(t$columns, "(Intercept)")
    left <- if (!is.null(t$written)) t$written else
      paste(c(if ("(Intercept)" %in% t$columns) "1" else "0", columns), collapse = " + ")
    paste0("(", left, if (t$correlated) " | " else " || ", t$group, ")")
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
  for (j in seq_len(ncol(parts$X))) columns[[paste0("X[", colnames(parts$X)[j], "]")]] <- as.numeric(parts$X[, j])
  for (t in parts$terms) {
    columns[[paste0("level[", t$group, "]")]] <- as.integer(t$factor)
    for (j in seq_along(t$columns)) columns[[paste0("Z[", t$group, ": ", t$columns[j], "]")]] <- t$values[, j]
  }
  as.data.frame(columns, optional = TRUE, stringsAsFactors = FALSE)
}

# ---------------------------------------------------------------- draws

chosen <- function(draws, name) {
  if (!name %in% dimnames(draws)[[3]]) refuse("its draws have no variable '", name, "'")
  as.numeric(draws[, , name])            # iterations of chain 1, then of chain 2, ...
}

draws_table <- function(draws, sources, names, terms, lower) {
  size <- dim(draws)
  columns <- list(chain = rep(seq_len(size[2]), each = size[1]), draw = rep(seq_len(size[1]), size[2]))
  for (j in seq_along(names)) columns[[paste0("beta[", names[j], "]")]] <- chosen(draws, sources[j])
  for (t in terms) for (i in seq_along(t$columns)) for (j in seq_len(i)) if (i == j || t$correlated)
    columns[[paste0("cov[", t$group, ": ", t$columns[i], ", ", t$columns[j], "]")]] <- lower(t, i, j)
  columns$sigma <- chosen(draws, "sigma")
  as.data.frame(columns, optional = TRUE)
}

# ---------------------------------------------------------------- text

shown_levels <- function(f) I(ifelse(is.na(levels(f)), "NA", levels(f)))     # addNA() makes NA a level

text <- function(x) gsub("\\s+", " ", paste(deparse(x, width.cutoff = 500L), collapse = " "))

plain <- function(x) matrix(as.numeric(x), nrow(x), ncol(x))

digits <- function(x) ifelse(is.finite(x), sprintf("%.17g", as.numeric(x)), "NA")

write_table <- function(table, path, name) {
  table[] <- lapply(table, function(v) {
    if (is.logical(v)) return(ifelse(v, "TRUE", "FALSE"))
    if (is.numeric(v)) digits(v) else enc2utf8(as.character(v))
  })
  quoted <- function(v) paste0('"', gsub('"', '""', v, fixed = TRUE), '"')
  table[] <- lapply(table, function(v) if (all(grepl("^[-+.0-9eNA]*$", v))) v else quoted(v))
  header <- paste(quoted(enc2utf8(names(table))), collapse = ",")
  write_whole(c(header, do.call(paste, c(unname(as.list(table)), sep = ","))), file.path(path, name), gzfile)
}

json <- function(x, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.null(x)) return("null")
  if (is.matrix(x) && length(x)) return(json(lapply(seq_len(nrow(x)), function(i) I(as.numeric(x[i, ]))), indent))
  if (is.list(x) && length(x) == 0) return("{}")
  if (is.list(x) && !is.null(names(x))) {
    values <- vapply(x, json, "", indent = deeper)
    return(paste0("{\n", paste0(deeper, json_text(names(x)), ": ", values, collapse = ",\n"), "\n", indent, "}"))
  }
  if (is.list(x)) return(paste0("[", paste(vapply(x, json, "", indent = deeper), collapse = ", "), "]"))
  if (length(x) == 0) return("[]")
  array <- inherits(x, "AsIs") || length(x) != 1
  x <- unclass(x)
  values <- if (is.character(x)) json_text(x) else if (is.logical(x)) ifelse(x, "true", "false") else
    sub("^NA$", "null", digits(x))
  values[is.na(x)] <- "null"
  if (array) paste0("[", paste(values, collapse = ", "), "]") else values
}

json_text <- function(x) {
  x <- gsub("\\", "\\\\", enc2utf8(x), fixed = TRUE)
  x <- gsub("\"", "\\\"", x, fixed = TRUE)
  x <- gsub("\n", "\\n", gsub("\t", "\\t", gsub("\r", "\\r", x, fixed = TRUE), fixed = TRUE), fixed = TRUE)
  paste0("\"", x, "\"")
}

export
})
