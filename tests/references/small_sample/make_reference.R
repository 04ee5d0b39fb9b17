# Kenward-Roger, Satterthwaite and cluster-robust references for β, as JSON beside this script.
# Rscript make_reference.R DIR_OF_CSV  (written with lme4, pbkrtest, lmerTest, clubSandwich)
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest); library(clubSandwich)})
library(jsonlite)
folder <- commandArgs(TRUE)[1]
tight <- lmerControl(optimizer = "nloptwrap", calc.derivs = TRUE,
                     optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 100000))
run <- function(name, formula, data, cluster = NULL, L = NULL) {
  fit <- lmerTest::lmer(formula, data, control = tight)
  out <- list(formula = paste(deparse(formula), collapse = ""), data = name,
              fixef = as.list(fixef(fit)), vcov = as.matrix(vcov(fit)),
              vcov_kr = as.matrix(vcovAdj(fit)), sigma2 = sigma(fit)^2,
              G = lapply(VarCorr(fit), function(v) matrix(v, nrow(v))))
  p <- length(fixef(fit))
  rows <- lapply(seq_len(p), function(i) as.numeric(seq_len(p) == i))
  out$ddf_kr <- sapply(rows, function(l) Lb_ddf(l, vcov(fit), vcovAdj(fit)))
  out$ddf_satterthwaite <- unname(summary(fit)$coefficients[, "df"])
  if (!is.null(cluster)) {
    lme4fit <- lme4::lmer(formula, data, control = tight)
    for (type in c("CR0", "CR2"))
      out[[type]] <- as.matrix(clubSandwich::vcovCR(lme4fit, cluster = data[[cluster]], type = type))
  }
  if (!is.null(L)) {
    small <- as.formula(L$small)
    test <- KRmodcomp(fit, lmerTest::lmer(small, data, control = tight))$stats
    out$F <- list(keep = L$keep, Fstat = test$Fstat, ndf = test$ndf, ddf = test$ddf,
                  scaling = test$F.scaling)
  }
  for (n in c("vcov", "vcov_kr", "CR0", "CR2")) if (!is.null(out[[n]])) dimnames(out[[n]]) <- NULL
  write_json(out, paste0(name, ".json"), digits = 15, auto_unbox = TRUE, pretty = TRUE)
}
read <- function(name) read.csv(file.path(folder, paste0(name, ".csv")), stringsAsFactors = TRUE)
run("sleep_few", Reaction ~ Days + (Days | Subject), read("sleep_few"), "Subject")
run("nested", y ~ x + arm + (1 | school/class), read("nested"), "school",
    list(small = "y ~ x + (1 | school/class)", keep = c(3, 4)))
run("slopes3", y ~ x + z + (x + z | g), read("slopes3"), "g",
    list(small = "y ~ 1 + (x + z | g)", keep = c(2, 3)))
run("crossed", y ~ x + (x | a) + (1 | b), read("crossed"))
