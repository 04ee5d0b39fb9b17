# Kenward-Roger and Satterthwaite at boundaries and for (f || g), as JSON beside this script.
# Rscript make_boundary.R DIR_OF_CSV DIR_OF_BAYESV_DATA
# (written with R 4.2.2, lme4 1.1-31, pbkrtest 0.5.2, lmerTest 3.1-3, clubSandwich 0.5.8)
suppressMessages({library(lmerTest); library(pbkrtest); library(clubSandwich); library(jsonlite)})
folder <- commandArgs(TRUE)[1]; own <- commandArgs(TRUE)[2]
controls <- list(
  lmerControl(optimizer = "bobyqa", calc.derivs = FALSE, check.conv.singular = "ignore",
              optCtrl = list(rhoend = 1e-10, maxfun = 1e6)),
  lmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, check.conv.singular = "ignore",
              optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 100000)))
forms <- c("y ~ x + t + (f || g)", "y ~ x + f + (f || g)", "y ~ x + t + (h || g)",
           "y ~ x + t + (x | g)", "y ~ x + (x || g) + (1 | k)", "y ~ x + t + (1 | g) + (1 | k)")
all <- read.csv(file.path(folder, "boundary.csv"), stringsAsFactors = TRUE)
bare <- function(m) unname(as.matrix(m))
run <- function(form, data, test = TRUE) {
  form <<- as.formula(form); rows_used <<- data
  fits <- lapply(controls, function(how) { how <<- how
    suppressMessages(suppressWarnings(lmer(form, rows_used, control = how))) })
  fit <- fits[[which.min(sapply(fits, REMLcrit))]]
  p <- length(fixef(fit)); adjusted <- vcovAdj(fit); rows <- diag(p)
  out <- list(formula = form, names = names(fixef(fit)), fixef = unname(fixef(fit)),
              criterion = REMLcrit(fit), theta = as.list(unname(getME(fit, "theta"))),
              se_satterthwaite = unname(sqrt(diag(as.matrix(vcov(fit))))),
              df_satterthwaite = unname(suppressWarnings(summary(fit))$coefficients[, "df"]),
              condition = attr(adjusted, "condi"))
  # With a condition above 1e-10 pbkrtest inverts a singular matrix: rounding, not a reference.
  if (!grepl("(f ||", deparse(form), fixed = TRUE) & !grepl("(h ||", deparse(form), fixed = TRUE) |
      out$condition < 1e-10) {
    out$cov <- bare(adjusted)
    out$df <- sapply(seq_len(p), function(i) Lb_ddf(rows[i, ], vcov(fit), adjusted))
    if (test) { s <- pbkrtest:::KRmodcomp_internal(fit, rows[2:3, ])$stats
      out$F <- list(F = s$Fstat, df2 = s$ddf, scale = s$F.scaling, p = s$p.value) }
  }
  out
}
out <- list()
for (case in unique(all$case)) { d <- droplevels(all[all$case == case, ])
  for (form in forms[1 + (case + c(0, 2)) %% 6]) {
    one <- tryCatch(run(form, d, test = length(grep("t|f \\+", form)) > 0), error = function(e) NULL)
    if (!is.null(one)) out <- c(out, list(c(list(case = case), one))) } }
write_json(out, "boundary.json", digits = 12, auto_unbox = TRUE)
# Assay data of nlme (Pinheiro and Bates), dyestuff2 and star_k20.
assay <- as.data.frame(nlme::Assay)
assay <- data.frame(block = as.character(assay$Block), sample = as.character(assay$sample),
                    dilut = paste0("d", assay$dilut), y = assay$logDens)
write.csv(assay, "assay.csv", row.names = FALSE, quote = FALSE)
read <- function(name) read.csv(gzfile(file.path(own, paste0(name, ".csv.gz"))), stringsAsFactors = TRUE)
star <- read("star_k20"); star$cltype <- relevel(star$cltype, "small"); star$sx <- relevel(star$sx, "M")
numbers <- function(form, data) { form <<- as.formula(form); rows_used <<- data; how <<- controls[[2]]
  fit <- suppressMessages(suppressWarnings(lmer(form, rows_used, control = how)))
  list(formula = form, criterion = REMLcrit(fit), names = names(fixef(fit)),
       df_satterthwaite = unname(suppressWarnings(summary(fit))$coefficients[, "df"])) }
named <- list(
  dyestuff2 = numbers("Yield ~ 1 + (1 | Batch)", read("dyestuff2")),
  star_k20 = numbers("read ~ cltype + sx + (sx | sch/tch)", star),
  assay = numbers("y ~ sample * dilut + (1 | block) + (1 | block:sample) + (1 | block:dilut)",
                  read.csv("assay.csv", stringsAsFactors = TRUE)),
  assay_block = numbers("y ~ sample + dilut + (1 | block/sample)",
                        read.csv("assay.csv", stringsAsFactors = TRUE)),
  assay_cells = numbers("y ~ sample + dilut + (1 | block:dilut) + (1 | block:sample)",
                         read.csv("assay.csv", stringsAsFactors = TRUE)))
write_json(named, "satterthwaite_named.json", digits = 12, auto_unbox = TRUE, pretty = TRUE)
