# Residuals and cluster-robust covariances of fits with structured residuals: nlme, clubSandwich.
# Run as: Rscript make_residuals.R (R 4.2.2; versions are in the file)
suppressMessages({library(nlme); library(clubSandwich); library(jsonlite)})
data(sleepstudy, package = "lme4")
d <- sleepstudy[-c(3, 17, 44, 45, 101), ]   # gaps and series of unequal length
d$sex <- factor(ifelse(as.integer(as.character(d$Subject)) %% 2, "F", "M"))
of <- function(fit, kinds) lapply(setNames(kinds, kinds), function(k) as.numeric(residuals(fit, type = k)))
robust <- function(fit) lapply(setNames(nm = c("CR0", "CR1", "CR2")), function(k) unclass(as.matrix(vcovCR(fit, type = k)))[,])
rho <- function(fit) unname(coef(fit$modelStruct$corStruct, unconstrained = FALSE))
one <- gls(Reaction ~ Days, d, correlation = corAR1(form = ~ Days | Subject))
two <- lme(Reaction ~ Days, d, random = ~ 1 | Subject, correlation = corAR1(form = ~ Days | Subject))
three <- gls(Reaction ~ Days, d, correlation = corCompSymm(form = ~ 1 | Subject),
             weights = varIdent(form = ~ 1 | sex))
ratio <- coef(three$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
out <- list(
  versions = list(R = as.character(getRversion()), nlme = as.character(packageVersion("nlme")),
                  clubSandwich = as.character(packageVersion("clubSandwich"))),
  rows = as.integer(rownames(d)),
  ar1 = list(sigma = one$sigma, rho = rho(one), residuals = of(one, c("response", "pearson", "normalized")), robust = robust(one)),
  ar1_intercept = list(sigma = two$sigma, rho = rho(two), sd = as.numeric(VarCorr(two)[1, 2]),
    residuals = of(two, c("response", "pearson", "normalized")), robust = robust(two)),
  cs_strata = list(sigma = three$sigma, rho = rho(three), sd = as.list(three$sigma * ratio),
    residuals = of(three, c("response", "pearson", "normalized")), robust = robust(three)))
write_json(out, "residual_kinds.json", digits = 14, auto_unbox = TRUE)
