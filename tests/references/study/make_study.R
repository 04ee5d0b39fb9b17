# REML, Satterthwaite and Kenward-Roger of simulated data sets: Rscript make_study.R
# replicates.csv.gz holds the first data sets of notebooks/studies/few_groups.toml with 8 groups.
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest)})
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 2e-2, rhoend = 2e-9, maxfun = 1e5),
                       calc.derivs = FALSE)
data <- read.csv("replicates.csv.gz", colClasses = c(g = "factor"))
rows <- lapply(split(data, data$replicate), function(d) {
  d$g <- droplevels(d$g)
  fit <- suppressMessages(suppressWarnings(
    lmerTest::lmer(y ~ x + (x | g), d, control = control)))
  V <- as.matrix(VarCorr(fit)$g)
  satterthwaite <- suppressWarnings(contest1D(fit, c(0, 1), ddf = "Satterthwaite"))
  adjusted <- vcovAdj(as(fit, "lmerMod"))
  data.frame(replicate = d$replicate[1], criterion = REMLcrit(fit), singular = isSingular(fit),
             sd_intercept = sqrt(V[1, 1]), sd_x = sqrt(V[2, 2]), sigma = sigma(fit),
             beta_x = fixef(fit)[["x"]], se_x = sqrt(vcov(fit)[2, 2]), df_satterthwaite = satterthwaite$df,
             se_kr = sqrt(adjusted[2, 2]), df_kr = get_Lb_ddf(as(fit, "lmerMod"), c(0, 1)))
})
out <- do.call(rbind, rows)
write.csv(format(out, digits = 15), "lme4.csv", row.names = FALSE, quote = FALSE)
writeLines(c(paste("R", getRversion()), sapply(c("lme4", "lmerTest", "pbkrtest"), function(p)
  paste(p, packageVersion(p)))), "versions.txt")
