# Satterthwaite degrees of freedom of cluster-robust variances by clubSandwich, as JSON beside this
# script. Rscript make_robust_df.R DIR_OF_CSV  (written with lme4 1.1.31, clubSandwich 0.5.8)
suppressMessages({library(lme4); library(clubSandwich)})
library(jsonlite)
folder <- commandArgs(TRUE)[1]
tight <- lmerControl(optimizer = "nloptwrap",
                     optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 100000))
run <- function(name, formula, cluster) {
  data <- read.csv(file.path(folder, paste0(name, ".csv")), stringsAsFactors = TRUE)
  fit <- lme4::lmer(formula, data, control = tight)
  kinds <- c(CR0 = "CR0", CR2 = "CR2")
  lapply(kinds, function(kind) {
    vcov <- vcovCR(fit, cluster = data[[cluster]], type = kind)
    coef_test(fit, vcov = vcov, test = "Satterthwaite")$df_Satt
  })
}
out <- list(
  sleep_few = run("sleep_few", Reaction ~ Days + (Days | Subject), "Subject"),
  nested = run("nested", y ~ x + arm + (1 | school/class), "school"),
  slopes3 = run("slopes3", y ~ x + z + (x + z | g), "g"))
write_json(out, "robust_df.json", digits = 12, auto_unbox = TRUE, pretty = TRUE)
