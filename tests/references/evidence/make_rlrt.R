# Exact restricted likelihood ratio tests of a random intercept: statistic, p, quantiles of the null.
# Rscript make_rlrt.R DIR_OF_BAYESV_DATA > rlrt.json
# (written with R 4.2.2, lme4 1.1-31, RLRsim 3.1-8)
suppressMessages({library(lme4); library(RLRsim); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
dyestuff <- read.csv(file.path(folder, "dyestuff.csv.gz"))
sleep <- read.csv(file.path(folder, "sleepstudy.csv.gz"))
few <- sleep[sleep$Subject %in% unique(sleep$Subject)[1:6] & seq_len(nrow(sleep)) %% 3 != 0, ]
control <- lmerControl(optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 100000))
run <- function(form, data, shift = 0) {
  fit <- lmer(as.formula(form), data, control = control)
  set.seed(1); test <- exactRLRT(fit, nsim = 200000)
  list(formula = form, statistic = unname(test$statistic), p = test$p.value,
       zeros = mean(test$sample <= 0), q = unname(quantile(test$sample, c(0.8, 0.9, 0.95, 0.99))))
}
cat(toJSON(list(dyestuff = run("Yield ~ 1 + (1 | Batch)", dyestuff),
                few = run("Reaction ~ Days + (1 | Subject)", few)),
           auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n")
