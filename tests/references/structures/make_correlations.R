# Correlation matrices of nlme's classes and of base R, as correlations.json beside this script.
# Rscript make_correlations.R  (written with R 4.2.2, nlme 3.1-162, jsonlite 1.8.4)
suppressMessages({library(nlme); library(jsonlite)})
visits <- data.frame(g = 1, t = 1:6)
gaps <- data.frame(g = 1, t = c(1, 2, 4, 5, 9))
times <- data.frame(g = 1, t = c(0.25, 0.75, 2, 2.5, 4.125, 7))
field <- data.frame(g = 1, x = c(0, 1, 2.5, 0.5, 3), y = c(0, 0.25, 1, 2, 1.5))
one <- function(kind, psi, structure, data, positions, nugget = FALSE) list(
  kind = kind, psi = as.list(psi), nugget = nugget, positions = positions,
  corr = unname(corMatrix(Initialize(structure, data))))
places <- unname(as.matrix(field[c("x", "y")]))
gamma <- function(phi, theta) (1 + phi * theta) * (phi + theta) / (1 + 2 * phi * theta + theta^2)
out <- list(
  one("cs", -0.15, corCompSymm(-0.15, ~ 1 | g), visits, visits$t),
  one("cs", 0.6, corCompSymm(0.6, ~ 1 | g), visits, visits$t),
  one("ar1", -0.55, corAR1(-0.55, ~ t | g), visits, visits$t),
  one("ar1", 0.7, corAR1(0.7, ~ t | g), gaps, gaps$t),
  one("ar1", -0.7, corAR1(-0.7, ~ t | g), gaps, gaps$t),
  one("ma1", gamma(0, 0.4), corARMA(0.4, ~ t | g, p = 0, q = 1), visits, visits$t),
  one("ma1", gamma(0, -0.8), corARMA(-0.8, ~ t | g, p = 0, q = 1), gaps, gaps$t),
  one("arma11", c(0.5, gamma(0.5, -0.3)), corARMA(c(0.5, -0.3), ~ t | g, p = 1, q = 1), visits, visits$t),
  one("arma11", c(-0.6, gamma(-0.6, 0.9)), corARMA(c(-0.6, 0.9), ~ t | g, p = 1, q = 1), gaps, gaps$t),
  one("car1", 0.45, corCAR1(0.45, ~ t | g), times, times$t),
  one("sp_pow", 0.45, corCAR1(0.45, ~ t | g), times, times$t),
  one("sp_exp", 1.7, corExp(1.7, ~ t | g), times, times$t),
  one("sp_exp", 1.7, corExp(1.7, ~ x + y | g), field, places),
  one("sp_exp", c(1.7, 0.2), corExp(c(1.7, 0.2), ~ x + y | g, nugget = TRUE), field, places, TRUE),
  one("sp_gau", 1.3, corGaus(1.3, ~ x + y | g), field, places),
  one("sp_gau", c(1.3, 0.35), corGaus(c(1.3, 0.35), ~ t | g, nugget = TRUE), times, times$t, TRUE))
# Autocorrelations and partial autocorrelations of AR(4), by base R.
ar <- c(0.4, -0.3, 0.15, 0.2)
toeplitz4 <- list(autocorrelations = unname(ARMAacf(ar, lag.max = 5))[-1],
                  partial = ARMAacf(ar, lag.max = 5, pacf = TRUE))
# SAS's SP(MATERN) by base R's Bessel function: distances, range, smoothness.
d <- c(0.1, 0.5, 1, 2, 6)
matern <- lapply(c(0.5, 0.8, 1.5, 3.2), function(nu) list(
  smoothness = nu, range = 1.4, distances = d,
  corr = (d / 2.8)^nu * 2 * besselK(d / 1.4, nu) / base::gamma(nu)))
write_json(list(made_with = list(R = as.character(getRversion()), nlme = as.character(packageVersion("nlme"))),
                correlations = out, toeplitz = toeplitz4, matern = matern),
           "correlations.json", digits = 16, auto_unbox = TRUE)
