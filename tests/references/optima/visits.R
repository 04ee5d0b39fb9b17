# REML of residual covariances over visits with several minima, by nlme: Rscript visits.R
library(nlme)
d <- read.csv("visits.csv")
d$visit <- factor(d$t)
best <- function(case, formula, correlation, starts, ...) {
  data <- d[d$case == case, ]
  data$position <- as.integer(data$t)
  fits <- lapply(starts, function(start) tryCatch(
    -2 * as.numeric(logLik(gls(formula, data, correlation = correlation(start), ...))),
    error = function(e) Inf))
  cat(case, format(min(unlist(fits)), digits = 10), "\n")
}
best("us", y ~ time * x, function(s) corSymm(form = ~ t + 1 | id), list(0),
     weights = varIdent(form = ~ 1 | visit))
best("arma11", y ~ time * x, function(s) corARMA(s, form = ~ t | id, p = 1, q = 1),
     list(c(0.5, 0), c(-0.5, 0.5), c(0.9, -0.5), c(-0.9, 0.5), c(0.5, 0.9), c(-0.5, -0.9)))
