# Analysis of variance, marginal means and contrasts: lmerTest, car, emmeans, pbkrtest.
# Rscript make_means.R   (in this folder; writes oats.csv, uneven.csv, means.json)
suppressMessages({
  library(lme4); library(lmerTest); library(emmeans); library(car); library(jsonlite)
})
options(contrasts = c("contr.sum", "contr.poly"))
oats <- as.data.frame(nlme::Oats)
oats <- data.frame(block = as.character(oats$Block), variety = as.character(oats$Variety),
                   nitro = oats$nitro, y = oats$yield)
split <- read.table(text = "block a b y
1 1 1 56\n1 1 2 41\n1 2 1 50\n1 2 2 36\n1 3 1 39\n1 3 2 35
2 1 1 30\n2 1 2 25\n2 2 1 36\n2 2 2 28\n2 3 1 33\n2 3 2 30
3 1 1 32\n3 1 2 24\n3 2 1 31\n3 2 2 27\n3 3 1 15\n3 3 2 19
4 1 1 30\n4 1 2 25\n4 2 1 35\n4 2 2 30\n4 3 1 17\n4 3 2 18", header = TRUE)
set.seed(1)
uneven <- data.frame(g = rep(1:14, each = 6), x = round(rnorm(84), 3))
uneven$a <- sample(c("p", "q", "r"), 84, TRUE, c(.5, .3, .2))
uneven$b <- c("u", "v")[1 + (uneven$g %% 2)]
uneven$y <- round(1 + (uneven$a == "q") + uneven$x * (uneven$b == "v") +
                  rep(rnorm(14), each = 6) + rnorm(84), 4)
write.csv(oats, "oats.csv", row.names = FALSE); write.csv(uneven, "uneven.csv", row.names = FALSE)
table <- function(a) {
  f <- which(grepl("^F", names(a)))
  list(term = rownames(a), F = a[[f]], df2 = a[[grep("Den|Df.res", names(a))]],
       p = a[[grep("^Pr", names(a))]])
}
# Of real degrees of freedom, which emmeans truncates: P(max |z| / s > |t|) over s, by quadrature.
joint <- function(contrasts) {
  s <- as.data.frame(contrasts); R <- cov2cor(vcov(contrasts))
  mapply(function(t, df) 1 - integrate(function(v) sapply(v, function(u) {
    b <- abs(t) * sqrt(qchisq(u, df) / df)
    mvtnorm::pmvnorm(rep(-b, nrow(R)), rep(b, nrow(R)), corr = R, algorithm = mvtnorm::Miwa(1024))
  }), 0, 1, rel.tol = 1e-7)$value, s$t.ratio, s$df)
}
means <- function(m) { s <- as.data.frame(summary(m, infer = TRUE)); as.list(s) }
sided <- function(side, pairs, delta = 0, adjust = "holm")
  as.list(as.data.frame(summary(pairs, infer = TRUE, side = side, delta = delta, null = 0.3, adjust = adjust)))
cases <- list(
  oats = list(y ~ variety + factor(nitro) + (1 | block / variety), oats, c("nitro", "variety")),
  split = list(y ~ factor(a) * factor(b) + (1 | block) + (1 | block:a), split, c("a", "b")),
  uneven = list(y ~ a * b + x * b + (1 | g), uneven, c("a", "b")),
  slopes = list(y ~ a + x * b + (x | g), uneven, c("a", "b")))
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
results <- lapply(cases, function(case) {
  rows <<- case[[2]]  # emmeans looks it up by name
  fit <- eval(bquote(lmerTest::lmer(.(case[[1]]), rows, control = control)))
  first <- emmeans(fit, case[[3]][1]); by <- emmeans(fit, case[[3]][1], by = case[[3]][2])
  plain <- eval(bquote(lme4::lmer(.(case[[1]]), rows, control = control)))
  list(formula = deparse(case[[1]]), theta = getME(fit, "theta"),
       type3 = table(anova(fit, type = 3, ddf = "Kenward-Roger")),
       type3_satterthwaite = table(anova(fit, type = 3)),
       type2 = table(Anova(plain, type = 2, test.statistic = "F")),
       means = means(first), satterthwaite = means(emmeans(fit, case[[3]][1], lmer.df = "satterthwaite")),
       tukey = means(pairs(first)), holm = means(pairs(first, adjust = "holm")),
       bonferroni = means(pairs(first, adjust = "bonferroni")), by = means(pairs(by)),
       sidak = means(pairs(first, adjust = "sidak")), fdr = means(pairs(first, adjust = "fdr")),
       scheffe = means(pairs(first, adjust = "scheffe")), by_rank = means(pairs(first, adjust = "BY")),
       hochberg = means(pairs(first, adjust = "hochberg")), hommel = means(pairs(first, adjust = "hommel")),
       sided = lapply(c(greater = ">", less = "<"), sided, pairs(first)),
       margins = lapply(c(greater = "noninferiority", less = "nonsuperiority", `two-sided` = "equivalence"),
                        sided, pairs(first), delta = 0.8, adjust = "none"),
       proportional = means(emmeans(fit, case[[3]][1], weights = "proportional")),
       reference = c(means(contrast(first, "trt.vs.ctrl", adjust = "mvt")),
                     list(joint = joint(contrast(first, "trt.vs.ctrl")))))
})
results$made_with <- paste(R.version.string, paste(sapply(
  c("lme4", "lmerTest", "emmeans", "car", "pbkrtest"),
  function(p) paste(p, packageVersion(p))), collapse = ", "))
write(toJSON(results, digits = NA, auto_unbox = TRUE, pretty = TRUE), "means.json")
