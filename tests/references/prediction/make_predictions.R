# Predictions of new rows in old series: glmmTMB, whose AR(1) effects without a residual are AR(1) residuals.
# Run as: Rscript make_predictions.R > ar1.csv (glmmTMB 1.1.5, R 4.2.2)
suppressMessages({library(lme4); library(glmmTMB)})
data(sleepstudy, package = "lme4")
held <- with(sleepstudy, (Subject == "308" & Days %in% c(4, 9)) | (Subject == "330" & Days %in% c(0, 8)))
fit <- glmmTMB(Reaction ~ Days + ar1(factor(Days) + 0 | Subject), dispformula = ~0,
               data = sleepstudy[!held, ], REML = TRUE)
new <- sleepstudy[held, ]
vc <- VarCorr(fit)$cond$Subject
out <- data.frame(Subject = new$Subject, Days = new$Days, mean = predict(fit, new),
                  sd = attr(vc, "stddev")[1], rho = attr(vc, "correlation")[2, 1])
write.csv(format(out, digits = 15), row.names = FALSE, quote = FALSE)
