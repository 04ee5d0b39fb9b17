# REML and ML of templated random effects by glmmTMB, on data simulated here; run in this directory.
library(glmmTMB)
set.seed(20)
d <- expand.grid(rep = 1:2, day = c("a", "b", "c", "d", "e"), g = sprintf("g%02d", 1:24))
d <- d[runif(nrow(d)) < 0.85, ]
d$day <- factor(d$day)
d$g <- factor(d$g)
d$h <- factor(sample(sprintf("h%d", 1:9), nrow(d), TRUE))
d$x <- round(rnorm(nrow(d)), 3)
C <- 0.7^abs(outer(1:5, 1:5, "-"))
D <- diag(c(1, 1.3, 0.8, 1.6, 1.1))
u <- matrix(rnorm(24 * 5), 24) %*% chol(D %*% C %*% D)
d$y <- round(2 + 0.4 * d$x + u[cbind(as.integer(d$g), as.integer(d$day))] +
  0.5 * rnorm(9)[as.integer(d$h)] + 0.6 * rnorm(nrow(d)), 4)
write.csv(d[, c("g", "h", "day", "x", "y")], "templates.csv", row.names = FALSE)
forms <- c("cs(0 + day | g)", "ar1(0 + day | g)", "toep(0 + day | g)", "diag(0 + day | g)",
           "us(0 + day | g)", "ar1(0 + day | g) + (1 | h)", "cs(0 + day | g) + (1 | h)")
rows <- list()
for (f in forms) for (reml in c(TRUE, FALSE)) {
  fit <- suppressWarnings(glmmTMB(as.formula(paste("y ~ x +", f)), d, REML = reml, se = FALSE,
    control = glmmTMBControl(optCtrl = list(iter.max = 2000, eval.max = 2000, rel.tol = 1e-14))))
  S <- VarCorr(fit)$cond[["g"]]
  rows[[length(rows) + 1]] <- data.frame(
    formula = paste("y ~ x +", f), method = if (reml) "REML" else "ML",
    criterion = sprintf("%.10g", -2 * as.numeric(logLik(fit))),
    sigma = sprintf("%.8g", sigma(fit)), beta_x = sprintf("%.8g", fixef(fit)$cond[["x"]]),
    sds = paste(sprintf("%.7g", attr(S, "stddev")), collapse = " "),
    corr12 = sprintf("%.7g", attr(S, "correlation")[2, 1]),
    corr15 = sprintf("%.7g", attr(S, "correlation")[5, 1]),
    convergence = fit$fit$convergence, glmmTMB = as.character(packageVersion("glmmTMB")))
}
write.csv(do.call(rbind, rows), "glmmTMB.csv", row.names = FALSE)
