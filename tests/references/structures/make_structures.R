# Fits of structured residuals by nlme and glmmTMB on simulated data, as structures.json and
# simulated.csv beside this script.
# Rscript make_structures.R  (written with R 4.2.2, nlme 3.1-162, glmmTMB 1.1.5, jsonlite 1.8.4)
suppressMessages({library(nlme); library(glmmTMB); library(jsonlite)})
set.seed(20)
rows <- do.call(rbind, lapply(1:40, function(i) {
  m <- sample(4:8, 1)
  data.frame(g = sprintf("g%02d", i), arm = c("a", "b")[1 + (i > 22)],
             t = sort(sample(0:7, m)), s = round(sort(runif(m, 0, 6)), 3),
             x = round(runif(m, 0.4, 3), 3))
}))
rows$g <- factor(rows$g); rows$arm <- factor(rows$arm)
b <- rows$arm == "b"
same <- outer(rows$g, rows$g, "==")
lags <- abs(outer(rows$t, rows$t, "-"))
times <- abs(outer(rows$s, rows$s, "-"))
draw <- function(V) as.vector(1 + 0.5 * rows$x - 0.3 * b + t(chol(V)) %*% rnorm(nrow(V)))
unit <- diag(nrow(rows))
arma <- ifelse(lags == 0, 1, 0.35 * 0.7^(lags - 1))
wide <- list(a = rbind(c(1, 0.6, 0.2), c(0.6, 2, 0.9), c(0.2, 0.9, 1.5)),
             b = rbind(c(2, -0.5, 0.4), c(-0.5, 1, 0.1), c(0.4, 0.1, 0.7)))
visit <- pmin(rows$t, 2) + 1
by_arm <- ifelse(outer(b, b, "&"), wide$b[visit, visit], wide$a[visit, visit])
rows$y_ar1 <- draw(2 * same * 0.6^lags)
rows$y_cs <- draw((same * 0.4 + 0.6 * unit) * outer(1 + b, 1 + b))
rows$y_car1 <- draw(same * (0.8 + 1.5 * 0.35^times))
rows$y_power <- draw(0.7 * same + diag(rows$x^1.6))
rows$y_nugget <- draw(2 * same * (0.75 * exp(-times / 1.5) + 0.25 * unit))
rows$y_arma <- draw(1.5 * same * arma)
rows$y_slopes <- draw(same * (1 + 0.09 * outer(rows$t, rows$t) + 1.2 * 0.5^lags))
rows$y_strata <- draw(0.6 * same + diag(ifelse(b, 2, 0.5)))
early <- rows$t <= 2
rows$y_us[early] <- draw((same * by_arm)[early, early] |> (\(V) {
  W <- unit; W[early, early] <- V; W })())[early]
for (name in grep("^y_", names(rows))) rows[[name]] <- round(rows[[name]], 4)

tight <- list(tolerance = 1e-10, msTol = 1e-13, maxIter = 500, msMaxIter = 2000, opt = "nlminb")
gls_tight <- do.call(glsControl, tight)
lme_tight <- do.call(lmeControl, c(tight, niterEM = 50))
# R of a fit by nlme, whose rows are sorted by series.
residual_of <- function(fit, d) {
  C <- diag(nrow(d))
  if (!is.null(fit$modelStruct$corStruct)) {
    blocks <- corMatrix(fit$modelStruct$corStruct)
    for (level in names(blocks)) { series <- d$g == level; C[series, series] <- blocks[[level]] }
  }
  sds <- rep(1, nrow(d))
  if (!is.null(fit$modelStruct$varStruct)) sds <- 1 / varWeights(fit$modelStruct$varStruct)
  fit$sigma^2 * C * outer(sds, sds)
}
# β, (X'V⁻¹X)⁻¹, −2 log (restricted) likelihood with lme4's constant, and rows of V.
case <- function(bayesv, call, V, X, y, method, parameters) {
  W <- solve(V); C <- solve(t(X) %*% W %*% X); beta <- C %*% t(X) %*% W %*% y
  r <- y - X %*% beta; logdet <- as.numeric(determinant(V)$modulus)
  value <- logdet + sum(r * (W %*% r))
  value <- if (method == "ML") value + length(y) * log(2 * pi) else
    value + (length(y) - ncol(X)) * log(2 * pi) - as.numeric(determinant(C)$modulus)
  list(bayesv = c(bayesv, method = method), call = call, criterion = value,
       beta = as.vector(beta), cov = unname(C), V_head = unname(V[1:6, 1:6]),
       parameters = parameters)
}
of_nlme <- function(bayesv, fit, d, method, Z = NULL) {
  call <- paste(deparse(fit$call, width.cutoff = 500), collapse = "")
  X <- model.matrix(formula(fit), d); y <- model.response(model.frame(formula(fit), d))
  V <- residual_of(fit, d)
  if (!is.null(Z)) V <- V + (Z %*% getVarCov(fit) %*% t(Z)) * outer(d$g, d$g, "==")
  structs <- fit$modelStruct[names(fit$modelStruct) != "reStruct"]
  parameters <- lapply(structs, function(part) as.list(coef(part, unconstrained = FALSE)))
  case(bayesv, call, V, X, y, method, c(sigma = fit$sigma, parameters))
}
one <- matrix(1, nrow(rows), 1)
cases <- list(
  ar1_gaps = of_nlme(list(formula = "y_ar1 ~ x + arm", residual = "ar1(t | g)"),
    gls(y_ar1 ~ x + arm, rows, correlation = corAR1(form = ~ t | g), control = gls_tight),
    rows, "REML"),
  cs_strata = of_nlme(list(formula = "y_cs ~ x + arm", residual = "cs(t | g)",
                           residual_sd = "strata(arm)"),
    gls(y_cs ~ x + arm, rows, correlation = corCompSymm(form = ~ 1 | g),
        weights = varIdent(form = ~ 1 | arm), control = gls_tight), rows, "REML"),
  car1_intercepts = of_nlme(list(formula = "y_car1 ~ x + (1 | g)", residual = "car1(s | g)"),
    lme(y_car1 ~ x, rows, ~ 1 | g, correlation = corCAR1(form = ~ s | g), control = lme_tight),
    rows, "REML", one),
  power_intercepts = of_nlme(list(formula = "y_power ~ x + (1 | g)", residual_sd = "power(x)"),
    lme(y_power ~ x, rows, ~ 1 | g, weights = varPower(form = ~ x), method = "ML",
        control = lme_tight), rows, "ML", one),
  exp_nugget = of_nlme(list(formula = "y_nugget ~ x", residual = "sp_exp(s | g, nugget=True)"),
    gls(y_nugget ~ x, rows, correlation = corExp(c(1, 0.2), form = ~ s | g, nugget = TRUE),
        control = gls_tight), rows, "REML"),
  arma11 = of_nlme(list(formula = "y_arma ~ x", residual = "arma11(t | g)"),
    gls(y_arma ~ x, rows, correlation = corARMA(c(0.5, 0.1), form = ~ t | g, p = 1, q = 1),
        method = "ML", control = gls_tight), rows, "ML"),
  ar1_slopes = of_nlme(list(formula = "y_slopes ~ x + t + (t | g)", residual = "ar1(t | g)"),
    lme(y_slopes ~ x + t, rows, ~ t | g, correlation = corAR1(form = ~ t | g),
        control = lme_tight), rows, "REML", cbind(1, rows$t)))
# Each arm with a mean, a slope and a covariance of its own: two fits side by side.
visits <- droplevels(rows[early, ])
parts <- lapply(levels(rows$arm), function(arm) {
  d <- visits[visits$arm == arm, ]; d$g <- factor(d$g); d$visit <- d$t + 1
  fit <- gls(y_us ~ x, d, correlation = corSymm(form = ~ visit | g),
             weights = varIdent(form = ~ 1 | visit), control = gls_tight)
  residual_of(fit, d)
})
V <- as.matrix(Matrix::bdiag(parts))
cases$us_by_arm <- case(
  list(formula = "y_us ~ x * arm", residual = "us(t | arm / g)"),
  "for each arm gls(y_us ~ x, correlation = corSymm(form = ~ visit | g), weights = varIdent(form = ~ 1 | visit))",
  V, model.matrix(y_us ~ x * arm, visits), visits$y_us, "REML", NULL)
fit <- glmmTMB(y_strata ~ x + (1 | g), rows, dispformula = ~ arm, REML = TRUE)
sds <- exp(cumsum(fixef(fit)$disp) * if (packageVersion("glmmTMB") < "1.1.7") 0.5 else 1)
V <- VarCorr(fit)$cond$g[1] * same + diag(unname(sds[as.integer(rows$arm)])^2)
cases$strata_glmmtmb <- case(
  list(formula = "y_strata ~ x + (1 | g)", residual_sd = "strata(arm)"),
  "glmmTMB(y_strata ~ x + (1 | g), dispformula = ~ arm, REML = TRUE)", V,
  model.matrix(~ x, rows), rows$y_strata, "REML", list(sd = unname(sds)))
stopifnot(abs(cases$strata_glmmtmb$criterion + 2 * as.numeric(logLik(fit))) < 1e-3)
write.csv(rows, "simulated.csv", row.names = FALSE, na = "")
version <- function(name) as.character(packageVersion(name))
write_json(list(made_with = list(R = as.character(getRversion()), nlme = version("nlme"),
                                 glmmTMB = version("glmmTMB")), cases = cases),
           "structures.json", digits = NA, auto_unbox = TRUE, pretty = FALSE)
for (name in names(cases)) cat(name, cases[[name]]$criterion, unlist(cases[[name]]$parameters), "\n")
