# ---------------------------------------------------------------- mmrm, by the documented elements of its object

from_mmrm <- function(fit) {
  parts <- fit$formula_parts
  numbers <- fit$tmb_data
  frame <- numbers$full_frame
  spatial <- isTRUE(as.logical(parts$is_spatial))
  kind <- parts$cov_type
  if (!kind %in% c("us", "toep", "toeph", "ar1", "ar1h", "ad", "adh", "cs", "csh", "sp_exp", "sp_gau"))
    refuse("its covariance is of type '", kind, "'")
  covs <- if (is.list(fit$cov)) fit$cov else list(fit$cov)
  given <- split(fit$theta_est, rep(seq_along(covs), each = length(fit$theta_est) / length(covs)))
  values <- Map(function(cov, theta) mmrm_parameters(kind, as.matrix(cov), theta), covs, given)
  columns <- lapply(stats::setNames(nm = parts$visit_var), function(v) frame[[v]])
  columns[[parts$subject_var]] <- droplevels(as.factor(frame[[parts$subject_var]]))
  if (length(parts$group_var)) columns[[parts$group_var]] <- as.factor(frame[[parts$group_var]])
  quoted <- function(v) ifelse(grepl("^[A-Za-z.][A-Za-z0-9._]*$", v), v, paste0("`", v, "`"))
  form <- paste0(kind, "(", paste(quoted(parts$visit_var), collapse = " + "), " | ",
                 paste(quoted(c(parts$group_var, parts$subject_var)), collapse = " / "), ")")
  # mmrm sorts the rows by subject and visit; here they stand as in the data.
  place <- match(row.names(frame), row.names(fit$data))
  order <- if (anyNA(place) || anyDuplicated(place)) seq_len(nrow(frame)) else order(place)
  omitted <- if (anyNA(place) || anyDuplicated(place)) integer(0) else setdiff(seq_len(nrow(fit$data)), place)
  frame <- frame[order, , drop = FALSE]
  sd <- if (length(covs) > 1 || length(values[[1]]$sd) > 1) unlist(lapply(values, `[[`, "sd"))
  X <- as.matrix(numbers$x_matrix)
  aliased <- names(which(numbers$x_cols_aliased))
  weights <- as.numeric(fit$weights)
  adjusted <- if (!is.null(fit$method) && !identical(fit$method, "Satterthwaite"))
    paste0("mmrm's adjustment (", fit$method, ") is not read: bv.kenward_roger(fit, information=\"observed\") is its own")
  list(
    engine = "mmrm", packages = if (requireNamespace("mmrm", quietly = TRUE)) "mmrm", formula = parts$model_formula,
    method = if (isTRUE(as.logical(fit$reml))) "REML" else "ML", log_likelihood = -as.numeric(fit$neg_log_lik),
    y = as.numeric(numbers$y_vector)[order], X = X[order, , drop = FALSE], contrasts = attr(numbers$x_matrix, "contrasts"),
    aliased = aliased, weights = if (any(weights != 1)) weights[order], offset = NULL, terms = list(),
    sigma = values[[1]]$sd[1],
    residual = list(form = form, columns = lapply(columns, `[`, order), sd = sd, corr = unlist(lapply(values, `[[`, "corr"))),
    beta = fit$beta_est, vcov = unname(as.matrix(fit$beta_vcov)),
    converged = is.null(fit$opt_details$convergence) || fit$opt_details$convergence == 0,
    messages = c(adjusted, if (!is.null(fit$opt_details$convergence) && fit$opt_details$convergence != 0) fit$opt_details$message),
    frame = frame[setdiff(names(frame), "(weights)")], omitted = omitted, data = fit$data
  )
}

# SDs and correlation parameters of one group, from its covariance of the visits; of spatial ones from theta.
mmrm_parameters <- function(kind, cov, theta) {
  if (kind %in% c("sp_exp", "sp_gau")) { # a variance, and rho per unit of distance or of its square
    range <- -1 / log(stats::plogis(theta[2]))
    return(list(sd = sqrt(exp(theta[1])), corr = if (kind == "sp_exp") range else sqrt(range)))
  }
  sd <- unname(sqrt(diag(cov)))
  corr <- unname(stats::cov2cor(cov))
  n <- ncol(corr)
  list(sd = if (kind %in% c("us", "toeph", "ar1h", "adh", "csh")) sd else sd[1],
       corr = switch(kind, us = corr[upper.tri(corr)], toep = , toeph = corr[1, -1], cs = , csh = , ar1 = , ar1h = corr[1, 2],
                     ad = , adh = corr[cbind(seq_len(n - 1), seq_len(n)[-1])]))
}
