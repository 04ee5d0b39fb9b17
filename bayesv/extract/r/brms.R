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
         kind = if (isTRUE(own$cor[1]) || nrow(own) == 1) "us" else "diag", cov = NULL, values = values,
         factor = factor(shown, unique(shown[order(code)])))
  })
  draws <- as.array(fit)
  lower <- function(t, i, j) {           # row i, column j <= i
    sd <- function(k) chosen(draws, paste0("sd_", t$name, "__", t$coef[k]))
    if (i == j) return(sd(i)^2)
    if (t$kind == "diag") return(0 * sd(i))
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
