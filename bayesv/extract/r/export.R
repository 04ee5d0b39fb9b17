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
  data <- original(parts$data, parts$frame, union(all.vars(parts$formula), intersect(names(parts$residual$columns), names(parts$frame))))

  write_table(design_table(parts, rows), part, "design.csv.gz")
  write_table(cbind("row names" = rows, data$table), part, "data.csv.gz")
  if (!is.null(parts$residual$matrix)) write_table(triangle(parts$residual$matrix), part, "covariance.csv.gz")
  if (!is.null(related <- relationships(parts$terms))) write_table(related, part, "relationships.csv.gz")
  if (!is.null(parts$draws)) write_table(parts$draws, part, "draws.csv.gz")

  factors <- Filter(function(v) is.factor(v) || is.character(v) || is.logical(v), as.list(data$table))
  record <- list(
    format = 2L,
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
                vcov = parts$vcov, other_cov = parts$other_cov, aliased = I(as.character(parts$aliased))),
    terms = I(lapply(unname(parts$terms), function(t) list(
      group = t$group, columns = I(t$columns), kind = t$kind, positions = t$positions,
      dimensions = t$dimensions, smoothness = t$smoothness, cov = t$cov, related = !is.null(t$relationship), levels = shown_levels(t$factor)))),
    sigma = parts$sigma,
    residual = residual_record(parts$residual),
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
  names <- c("draws.csv.gz", "covariance.csv.gz", "relationships.csv.gz", "data.csv.gz", "design.csv.gz", "fit.json")
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
  if (inherits(fit, "gls")) return(from_gls(fit))
  if (inherits(fit, "glmmTMB")) return(from_glmmTMB(fit))
  if (inherits(fit, "mmrm_tmb")) return(from_mmrm(fit))
  if (inherits(fit, "rma")) return(from_rma(fit))
  if (inherits(fit, "brmsfit")) return(from_brms(fit))
  if (inherits(fit, "stanreg")) return(from_rstanarm(fit))
  refuse("its class is ", class(fit)[1],
         "; fits of lmer, lme, gls, glmmTMB, mmrm, rma.uni, rma.mv, brm, stan_lmer and stan_glmer can be exported")
}

# A factor f with a level 2 beside a variable f2: R names both coefficients f2.
check_names <- function(parts) {
  for (names in c(list(colnames(parts$X)), lapply(parts$terms, `[[`, "columns")))
    if (anyDuplicated(names))
      refuse("two of its coefficients are named '", names[duplicated(names)][1], "'; rename a variable and fit again")
}

refuse <- function(...) stop("bayesv_export cannot write this fit: ", ..., ".", call. = FALSE)
