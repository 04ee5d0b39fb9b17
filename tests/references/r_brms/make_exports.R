#!/usr/bin/env Rscript
# Makes exported fits of brms whose residuals or group-level effects have a structure, what brms itself says of the density
# of y at their draws, and the reasons of what is refused.
#
# Run:       bayesv export-r -o bayesv_export.R; Rscript make_exports.R bayesv_export.R OUTDIR [FIT ...]
# Made with: R 4.2.2, brms 2.18.0, rstan 2.21.7 (Debian bookworm); unstr and places by brms 2.23.1, as unstr() came with 2.19.
#
# Nothing is sampled: what is to be read does not depend on how draws were made. Each fit is an empty brmsfit whose draws are
# read from a file in CmdStan's format, as brms documents it (brm(empty = TRUE), rstan::read_stan_csv(), rename_pars()), so that
# brms itself names the variables. density.csv has log N(y | X beta, V) at each draw: sigma, standard errors and covariances
# within series are computed by brms's own functions, and by its log_lik() where residuals are conditional on the past.

suppressMessages(library(brms))
argument <- commandArgs(TRUE)
if (length(argument) < 2) stop("usage: Rscript make_exports.R BAYESV_EXPORT_R OUTDIR [FIT ...]")
source(argument[1])
out <- argument[2]
wanted <- argument[-(1:2)]

# ---------------------------------------------------------------- data: missing visits, rows in no order

set.seed(41)
data <- expand.grid(visit = factor(paste0("v", 1:4)), g = factor(paste0("s", 1:9)))
data$time <- as.integer(data$visit)
data$week <- c(1, 2, 4, 8)[data$visit]
data$arm <- factor(c("drug", "none")[1 + as.integer(data$g) %% 2])
data$site <- factor(letters[1 + as.integer(data$g) %% 3])
data$x <- round(rnorm(36), 2)
data$z <- round(runif(36), 2)
data$s <- round(runif(36, 0.3, 1), 2)
data$y <- round(with(data, 3 + x + rnorm(9)[g] + rnorm(3)[site] + rnorm(36) * c(1, 0.6)[arm]), 2)
data <- data[sample(36), ][-(1:5), ]
data$x[4] <- NA
row.names(data) <- paste0("r", seq_len(nrow(data)))
data$seen <- NA                          # the number of the visit among those of its series
data$seen[-4] <- with(data[-4, ], ave(time, g, FUN = rank))
K <- 0.5^abs(outer(1:9, 1:9, "-"))
dimnames(K) <- list(paste0("s", 9:1), paste0("s", 9:1))
M <- diag(round(runif(31, 0.5, 2), 2))
band <- M + 0.1 * (abs(row(M) - col(M)) == 1)

# ---------------------------------------------------------------- a fit with draws

as_cmdstan <- function(values, chain, path) {
  n <- length(values[[1]])
  head <- c("# stan_version_major = 2", "# stan_version_minor = 21", "# stan_version_patch = 0", "# model = filled_model",
            "# method = sample (Default)", "#   sample", paste0("#     num_samples = ", n), "#     num_warmup = 0",
            "#     save_warmup = 0 (Default)", "#     thin = 1 (Default)", "#     adapt", "#       engaged = 1 (Default)",
            "#     algorithm = hmc (Default)", "#       hmc", "#         engine = nuts (Default)", "#         metric = diag_e (Default)",
            paste0("# id = ", chain), "# random", "#   seed = 1")
  sampler <- c(lp__ = 0, accept_stat__ = 1, stepsize__ = 1, treedepth__ = 1, n_leapfrog__ = 1, divergent__ = 0, energy__ = 0)
  table <- as.data.frame(c(lapply(sampler, rep, n), values), optional = TRUE)
  rows <- do.call(paste, c(lapply(table, function(v) sprintf("%.17g", v)), sep = ","))
  writeLines(c(head, paste(names(table), collapse = ","), "# Adaptation terminated", "# Step size = 1",
               "# Diagonal elements of inverse mass matrix:", "# 1", rows, "#  Elapsed Time: 1 seconds (Warm-up)"), path)
}

empty <- function(formula, ...) suppressWarnings(suppressMessages(brm(formula, data, data2 = list(K = K, M = M, band = band), empty = TRUE, ...)))

# Ten draws of each of two chains about some values, by Stan's names of the parameters.
filled <- function(formula, values) {
  fit <- empty(formula)
  files <- vapply(1:2, function(chain) {
    set.seed(chain)
    path <- tempfile(fileext = ".csv")
    as_cmdstan(lapply(values, function(v) v * (1 + 0.1 * rnorm(10))), chain, path)
    path
  }, "")
  fit$fit <- suppressWarnings(rstan::read_stan_csv(files))
  brms::rename_pars(fit)
}

# ---------------------------------------------------------------- log N(y | X beta, V) at each draw, by brms

own <- function(name) utils::getFromNamespace(name, "brms")

log_density <- function(fit) {
  past <- any(grepl("^ar\\(", labels(stats::terms(brmsterms(fit$formula)$dpars$mu$ac %||% ~ 1)))) && !grepl("cov = TRUE", deparse1(fit$formula$formula))
  if (past) return(rowSums(log_lik(fit, re_formula = NA)))
  prep <- prepare_predictions(fit, re_formula = NA)
  numbers <- standata(fit)
  mu <- as.matrix(own("get_dpar")(prep, "mu"))
  draws <- as.matrix(fit)
  series <- if (is.null(numbers$N_tg)) as.list(seq_len(numbers$N)) else Map(seq, numbers$begin_tg, numbers$end_tg)
  if (!is.null(numbers$Mfcor)) series <- list(seq_len(numbers$N))
  within <- lapply(seq_along(series), function(k) {
    if (is.null(numbers$N_tg)) {
      sigma <- own("add_sigma_se")(own("get_dpar")(prep, "sigma", i = series[[k]]), prep, i = series[[k]])
      return(array(sigma^2, c(nrow(draws), 1, 1)))
    }
    if (is.null(numbers$Jtime_tg)) return(own("get_cov_matrix_ac")(prep, series[[k]]))
    own("get_cov_matrix_ac")(prep, series[[k]], Jtime = numbers$Jtime_tg[k, seq_along(series[[k]])])
  })
  vapply(seq_len(nrow(draws)), function(s) {
    V <- matrix(0, numbers$N, numbers$N)
    for (k in seq_along(series)) V[series[[k]], series[[k]]] <- within[[k]][s, , ]
    V <- V + of_groups(fit, numbers, draws[s, ])
    root <- chol(V)
    -sum(log(diag(root))) - sum(backsolve(root, as.numeric(numbers$Y) - mu[s, ], transpose = TRUE)^2) / 2 - numbers$N * log(2 * pi) / 2
  }, 0)
}

`%||%` <- function(a, b) if (is.null(a)) b else a

# Z (K x Sigma) Z' of the one group-level term.
of_groups <- function(fit, numbers, draw) {
  if (is.null(numbers$M_1)) return(0)
  sd <- draw[grepl("^sd_", names(draw))]
  corr <- diag(length(sd))
  corr[upper.tri(corr)] <- draw[grepl("^cor_", names(draw))]
  corr[lower.tri(corr)] <- t(corr)[lower.tri(corr)]
  Sigma <- outer(sd, sd) * corr
  Z <- sapply(seq_along(sd), function(j) as.numeric(numbers[[paste0("Z_1_", j)]]))
  related <- if (is.null(numbers$Lcov_1)) diag(numbers$N_1) else tcrossprod(numbers$Lcov_1)
  (Z %*% Sigma %*% t(Z)) * related[numbers$J_1, numbers$J_1]
}

density <- NULL
keep <- function(name, formula, values) {
  if (length(wanted) && !name %in% wanted) return(invisible())
  if (name %in% c("unstr", "places") && !exists("unstr", asNamespace("brms"))) return(invisible())
  fit <- filled(formula, values)
  suppressMessages(bayesv_export(fit, file.path(out, name), overwrite = TRUE))
  size <- dim(as.array(fit))
  density <<- rbind(density, data.frame(fit = name, chain = rep(seq_len(size[2]), each = size[1]), draw = rep(seq_len(size[1]), size[2]),
                                        value = sprintf("%.12g", log_density(fit))))
}

mean_of <- list(b.1 = 0.9, b_Intercept = 3)
cortimes <- as.list(stats::setNames(c(0.5, 0.3, 0.45, 0.1, 0.3, 0.6), paste0("cortime.", 1:6)))

keep("ar", bf(y ~ x + (1 | site) + ar(week, g, cov = TRUE), sigma ~ arm),
     c(mean_of, b_sigma.1 = -0.5, b_sigma_Intercept = 0.1, sd_1.1 = 0.8, ar.1 = 0.4))
keep("ar_past", y ~ x + ar(week, g), c(mean_of, ar.1 = 0.6, sigma = 0.9))
keep("ma", y ~ x + ma(seen, g, cov = TRUE), c(mean_of, ma.1 = 0.5, sigma = 0.9))
keep("arma", bf(y ~ x + arma(week, g, cov = TRUE), sigma ~ 0 + arm + z), c(mean_of, ar.1 = 0.5, ma.1 = -0.3, b_sigma.1 = 0.2, b_sigma.2 = -0.4, b_sigma.3 = 0.5))
keep("cosy", y ~ x + cosy(gr = g), c(mean_of, cosy = 0.4, sigma = 1.1))
keep("unstr", bf(y ~ x + unstr(visit, g), sigma ~ visit),
     c(mean_of, b_sigma.1 = -0.2, b_sigma.2 = 0.3, b_sigma.3 = 0.4, b_sigma_Intercept = 0.1, cortimes))
keep("gr", y ~ x + (1 + x | gr(g, cov = K)), c(mean_of, sd_1.1 = 0.8, sd_1.2 = 0.4, cor_1.1 = 0.3, sigma = 0.7))
keep("sigma", bf(y ~ x + (1 | g), sigma ~ site * arm + log(week)),
     c(mean_of, sd_1.1 = 0.8, b_sigma.1 = -0.2, b_sigma.2 = 0.3, b_sigma.3 = 0.4, b_sigma.4 = 0.1, b_sigma.5 = -0.3, b_sigma.6 = 0.2, b_sigma_Intercept = 0.1))
keep("se", y | se(s) ~ x + (1 | g), c(mean_of, sd_1.1 = 0.8, sigma = 0))
keep("se_sigma", bf(y | se(s, sigma = TRUE) ~ x + (1 | g), sigma ~ arm), c(mean_of, sd_1.1 = 0.8, b_sigma.1 = -0.5, b_sigma_Intercept = 0.1))
keep("places", y | se(s, sigma = TRUE) ~ x + (1 | site) + unstr(visit, g), c(mean_of, sd_1.1 = 0.8, sigma = 0.9, cortimes))
keep("fcor", y ~ x + (1 | g) + fcor(M), c(mean_of, sd_1.1 = 0.8, sigma = 0.9))

if (!is.null(density)) {
  file <- file.path(out, "density.csv")
  if (length(wanted) && file.exists(file)) {
    others <- utils::read.csv(file, colClasses = "character")
    density <- rbind(others[!others$fit %in% density$fit, ], density)
  }
  utils::write.csv(density, file, row.names = FALSE, quote = FALSE)
}
if (length(wanted)) quit(save = "no")

# ---------------------------------------------------------------- refused

refused <- NULL
refuse <- function(name, fit) {
  message <- tryCatch({bayesv_export(fit, tempfile()); "not refused"}, error = conditionMessage)
  refused <<- rbind(refused, data.frame(fit = name, message = message))
}
refuse("ar(p = 2)", empty(y ~ x + ar(week, g, p = 2)))
refuse("ma past", empty(y ~ x + ma(week, g)))
refuse("sar", empty(y ~ x + sar(M)))
refuse("car", empty(y ~ x + car(K, gr = g)))
refuse("fcor", empty(y ~ x + (1 | g) + fcor(band)))
refuse("sigma of effects", empty(bf(y ~ x + (1 | g), sigma ~ 1 + (1 | site))))
refuse("sigma of a smooth", empty(bf(y ~ x + (1 | g), sigma ~ s(z))))
refuse("sigma of a product", filled(bf(y ~ x + (1 | g), sigma ~ arm * z), c(mean_of, sd_1.1 = 1, b_sigma.1 = 1, b_sigma.2 = 1, b_sigma.3 = 1, b_sigma_Intercept = 1)))
refuse("sigma of another link", empty(bf(y ~ x + (1 | g), sigma ~ arm), family = brmsfamily("gaussian", link_sigma = "identity")))
refuse("sigma fixed", empty(bf(y ~ x + (1 | g), sigma = 1)))
refuse("ar past beside sigma", filled(bf(y ~ x + ar(week, g), sigma ~ arm), c(mean_of, ar.1 = 0.5, b_sigma.1 = 1, b_sigma_Intercept = 1)))
refuse("se beside ar and strata", filled(bf(y | se(s, sigma = TRUE) ~ x + ar(week, g, cov = TRUE), sigma ~ arm),
                                         c(mean_of, ar.1 = 0.5, b_sigma.1 = 1, b_sigma_Intercept = 1)))
refuse("no groups", filled(y ~ x, c(mean_of, sigma = 1)))
refuse("weights", empty(y | weights(s) ~ x + (1 | g)))
utils::write.csv(refused, file.path(out, "refused.csv"), row.names = FALSE)
