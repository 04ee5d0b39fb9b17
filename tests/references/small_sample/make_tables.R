# Fits as tables: broom.mixed and performance.  Rscript make_tables.R  (writes tables.json)
suppressMessages({library(lme4); library(broom.mixed); library(performance); library(jsonlite)})
sleepstudy$w <- 1 + sleepstudy$Days %% 3
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
tables <- function(fit) list(
  augment = as.list(as.data.frame(augment(fit))[c(".fitted", ".fixed", ".resid", ".hat", ".cooksd")]),
  performance = as.list(as.data.frame(suppressMessages(model_performance(fit, estimator = "REML")))),
  glance = as.list(as.data.frame(glance(fit))))
results <- list(
  plain = tables(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = control)),
  weights = tables(lmer(Reaction ~ Days + (1 | Subject), sleepstudy, weights = w, control = control)),
  made_with = paste(R.version.string, paste(sapply(c("lme4", "broom.mixed", "performance"),
    function(p) paste(p, packageVersion(p))), collapse = ", ")))
write(toJSON(results, digits = NA, auto_unbox = TRUE), "tables.json")
