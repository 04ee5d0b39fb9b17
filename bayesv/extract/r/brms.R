from_brms <- function(fit) {
  parsed <- brms::brmsterms(fit$formula)
  if (inherits(parsed, "mvbrmsterms")) refuse("it has several responses")
  if (fit$family$family != "gaussian" || fit$family$link != "identity")
    refuse("its family is ", fit$family$family, " with link ", fit$family$link, ", not gaussian with identity")
  extra <- setdiff(names(parsed$adforms), "se")
  if (length(extra))
    refuse("its response has ", extra[1], "(): weights() are powers of the likelihood, and the ",
           "others change it, so that R is not sigma^2 times known numbers")
  of_se <- "se" %in% names(parsed$adforms) && identical(as.numeric(parsed$fdpars$sigma$value), 0)
  if (length(parsed$fdpars) > of_se) refuse("its sigma is fixed or tied")
  if (length(parsed$nlpars)) refuse("its mean is not linear")
  special <- c(sp = "special terms (mo, me, mi)", cs = "category-specific terms", sm = "smooth terms",
               gp = "Gaussian processes")
  for (kind in names(special))
    if (length(all.vars(parsed$dpars$mu[[kind]]))) refuse("it has ", special[[kind]])
  if (!all(names(parsed$dpars) %in% c("mu", "sigma")) || inherits(parsed$dpars$sigma, "btnl"))
    refuse("its sigma is modelled by more than factors and covariates")
  if (is.data.frame(parsed$dpars$sigma$re) && nrow(parsed$dpars$sigma$re)) refuse("its sigma is modelled with group-level effects")
  special <- c(special, ac = "autocorrelation", offset = "an offset")
  for (kind in names(special))
    if (length(all.vars(parsed$dpars$sigma[[kind]]))) refuse("its sigma is modelled with ", special[[kind]])
  link <- parsed$dpars$sigma$family$link
  if (!is.null(link) && link != "log") refuse("its sigma is modelled with link ", link, ", not log")
  if (identical(attr(fit$prior, "sample_prior"), "only")) refuse("its draws are of the prior (sample_prior = \"only\")")
  if (!identical(fit$algorithm, "sampling")) refuse("its draws are of algorithm '", fit$algorithm, "', not of MCMC")
  # From brms 2.22 on, a fit no longer carries the table of its group-level terms.
  effects <- if (!is.null(fit$ranef)) fit$ranef else
    utils::getFromNamespace("frame_re", "brms")(parsed, fit$data)
  set <- function(column) any(!effects[[column]] %in% c("", NA))
  if (any(effects$dist == "student")) refuse("group effects of gr(dist = \"student\") are not normal")
  if (set("by")) refuse("gr(by = ) gives a factor several covariances")
  if (set("gtype")) refuse("mm() shares effects between levels of a factor")
  if (set("type")) refuse("a group-level term has special effects")

  numbers <- brms::standata(fit)
  series <- brms_series(parsed$dpars$mu$ac)
  if (!NROW(effects) && (is.null(series) || series$class == "fcor") && !length(parsed$adforms) && is.null(parsed$dpars$sigma))
    refuse("it has no group-level effects, and independent residuals")
  rows <- brms_rows(fit$data, series)
  data <- fit$data[rows$data, , drop = FALSE]
  delayedAssign("draws", as.array(fit))
  X <- numbers$X[rows$numbers, , drop = FALSE]
  if (is.null(X)) X <- matrix(0, length(numbers$Y), 0)
  coef <- colnames(X)
  colnames(X) <- names_in_R(coef, X, parsed$dpars$mu$fe, data)
  terms <- lapply(unique(effects$id), function(id) brms_term(effects[effects$id == id, ], id, numbers, rows$numbers, data, fit, effects))
  residual <- brms_residual(parsed, series, numbers, rows$numbers, data, fit$data2, draws)
  terms <- c(terms, residual$terms)
  lower <- function(t, i, j) {           # row i, column j <= i
    if (!is.null(t$draws)) return(t$draws(i, j))
    sd <- function(k) chosen(draws, paste0("sd_", t$name, "__", t$coef[k]))
    if (i == j) return(sd(i)^2)
    if (t$kind == "diag") return(0 * sd(i))
    chosen(draws, paste0("cor_", t$name, "__", t$coef[j], "__", t$coef[i])) * sd(i) * sd(j)
  }
  offset <- as.numeric(numbers$offsets)[if (length(numbers$offsets)) rows$numbers]
  formula <- fit$formula$formula
  formula[[2]] <- parsed$respform[[2]]
  formula[[3]] <- plain_terms(formula[[3]])
  if (is.null(formula[[3]])) formula[[3]] <- 1
  list(
    engine = "brms", packages = c("brms", fit$backend), formula = formula, method = "posterior",
    y = as.numeric(numbers$Y)[rows$numbers], X = X, contrasts = NULL, weights = residual$weights,
    offset = if (any(offset != 0)) offset, terms = terms, residual = residual$residual,
    # b_Intercept is the intercept at zero: brms centres X for sampling only.
    draws = draws_table(draws, if (length(coef)) paste0("b_", coef), colnames(X), terms, lower, residual$scale),
    converged = TRUE, messages = residual$messages, frame = data, omitted = attr(fit$data, "na.action"), data = data
  )
}

brms_term <- function(own, id, numbers, rows, data, fit, effects) {
  group <- own$group[1]
  code <- as.integer(numbers[[paste0("J_", id)]])[rows]
  factors <- strsplit(group, ":", fixed = TRUE)[[1]]
  shown <- if (all(factors %in% names(data)))
    do.call(paste, c(lapply(data[factors], as.character), sep = ":")) else attr(effects, "levels")[[group]][code]
  values <- sapply(own$cn, function(k) as.numeric(numbers[[paste0("Z_", id, "_", k)]])[rows])
  factor <- factor(shown, unique(shown[order(code)]))
  list(group = group, name = group, coef = own$coef, columns = names_in_R(own$coef, values, own$form[[1]], data),
       kind = if (isTRUE(own$cor[1]) || nrow(own) == 1) "us" else "diag", cov = NULL, values = values,
       factor = factor, relationship = if (!own$cov[1] %in% c("", NA)) brms_relationship(fit$data2[[own$cov[1]]], own$cov[1], factor))
}

# K of gr(g, cov = K), in the order of the levels.
brms_relationship <- function(K, name, factor) {
  if (is.null(K)) refuse("the fit no longer holds the matrix '", name, "' of gr(cov = )")
  K <- as.matrix(K)
  if (is.null(rownames(K)) || !all(levels(factor) %in% rownames(K)))
    refuse("rows of the matrix '", name, "' of gr(cov = ) are not named by the levels")
  at <- match(levels(factor), rownames(K))
  plain(K[at, at, drop = FALSE])
}

# A sum without terms of autocorrelation, with g in the place of gr(g, ...), and (x | g) in that of (x | id | g).
plain_terms <- function(e) {
  if (!is.call(e)) return(e)
  name <- text(e[[1]])
  if (name %in% c("ar", "ma", "arma", "cosy", "unstr", "fcor")) return(NULL)
  if (name == "gr") return(e[[2]])
  if (name == "+" && length(e) == 3) {
    left <- plain_terms(e[[2]])
    right <- plain_terms(e[[3]])
    return(if (is.null(left)) right else if (is.null(right)) left else call("+", left, right))
  }
  if (name %in% c("|", "||")) {
    left <- e[[2]]
    if (is.call(left) && identical(left[[1]], as.name("|"))) left <- left[[2]]
    return(call(name, left, plain_terms(e[[3]])))
  }
  if (name %in% c("(", "-", "/", ":")) for (k in seq_along(e)[-1]) e[[k]] <- plain_terms(e[[k]])
  e
}

# brms writes I(x^2) as IxE2 and the level x/y as xDy: R's own names, where its columns are R's.
names_in_R <- function(names, values, formula, data) {
  columns <- tryCatch(coded(formula, data, NULL), error = function(e) NULL)
  same <- identical(dim(columns), dim(values)) && all(abs(columns - values) < 1e-9 * (1 + abs(values)))
  if (same) colnames(columns) else names
}
