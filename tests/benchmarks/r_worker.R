# One measurement of an R package: Rscript r_worker.R job=… formula=… stem=… prints one JSON line.
# Draws go to a CSV file, so that effective sample sizes are computed by the same code for all.

given <- commandArgs(trailingOnly = TRUE)
option <- as.list(sub("^[^=]*=", "", given))
names(option) <- sub("=.*$", "", given)
number <- function(name) as.numeric(option[[name]])

print_json <- function(values) {
  text <- vapply(values, function(v) {
    if (is.character(v)) {
      paste0('"', gsub('"', "'", gsub("[\\\\\n\t]", " ", v)), '"')
    } else if (is.finite(v)) {
      format(v, digits = 15)
    } else {
      "null"
    }
  }, "")
  cat("\n{", paste0('"', names(values), '": ', text, collapse = ", "), "}\n", sep = "")
}

read_data <- function(stem) {
  levels <- read.csv(paste0(stem, ".levels.csv"), colClasses = "character")
  factors <- unique(levels$column)
  classes <- setNames(rep("character", length(factors)), factors)
  data <- read.csv(paste0(stem, ".csv"), na.strings = "NA",
                   colClasses = if (length(classes)) classes else NA)
  for (name in factors) {
    data[[name]] <- factor(data[[name]], levels$level[levels$column == name])
  }
  data
}

seconds <- function(code) {
  started <- Sys.time()
  force(code)
  as.numeric(difftime(Sys.time(), started, units = "secs"))
}

# Of this process alone; chains that run in processes of their own are not counted.
peak_mib <- function() {
  if (!file.exists("/proc/self/status")) return(NA_real_)
  line <- grep("^VmHWM:", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

require_package <- function(name) {
  if (!requireNamespace(name, quietly = TRUE)) {
    print_json(list(error = paste0("not installed: R package ", name)))
    quit("no")
  }
  suppressPackageStartupMessages(library(name, character.only = TRUE))
}

# Wall time of chains that were given one by one to the core that was free first.
makespan <- function(stanfit, cores) {
  busy <- numeric(cores)
  for (s in rowSums(rstan::get_elapsed_time(stanfit))) {
    first <- which.min(busy)
    busy[first] <- busy[first] + s
  }
  max(busy)
}

write_draws <- function(draws, keep) {
  names <- grep(keep, dimnames(draws)[[3]], value = TRUE, perl = TRUE)
  flat <- matrix(draws[, , names], ncol = length(names), dimnames = list(NULL, names))
  place <- expand.grid(draw = seq_len(dim(draws)[1]), chain = seq_len(dim(draws)[2]))
  write.csv(cbind(place, flat), option$out, row.names = FALSE)
}

versions <- function(name) {
  paste0(packageVersion(name), " (R ", getRversion(), ")")
}

run_lme4 <- function(formula, data) {
  require_package("lme4")
  best <- Inf
  for (i in 1:3) {
    time <- seconds(fit <- suppressWarnings(suppressMessages(lmer(formula, data))))
    if (i == 1) first <- time
    best <- min(best, time)
    if (first > 20) break
  }
  messages <- unlist(fit@optinfo$conv$lme4$messages)
  note <- paste(messages[!grepl("singular", messages)], collapse = "; ")
  list(total_s = best, first_s = first, criterion = as.numeric(REMLcrit(fit)), note = note,
       version = versions("lme4"))
}

# Fits of simulated responses by one fitted model. Some versions' refit divides by n - 1, not n - p.
run_lme4_refits <- function(formula, data) {
  require_package("lme4")
  quietly <- function(code) suppressWarnings(suppressMessages(code))
  fit <- quietly(lmer(formula, data))
  responses <- read.csv(paste0(option$stem, ".responses.csv"))
  refits <- lapply(responses, function(y) quietly(refit(fit, y)))
  times <- replicate(number("passes"), vapply(responses, function(y) {
    seconds(quietly(refit(fit, y)))
  }, 0))
  counted <- refits[[1]]@resp$REML
  same <- counted == fit@resp$REML
  note <- sprintf("another criterion: its refit has n - %d where its fit has n - %d",
                  as.integer(counted), as.integer(fit@resp$REML))
  list(total_s = median(times), note = if (same) "" else note, version = versions("lme4"),
       criterion = if (same) mean(vapply(refits, REMLcrit, 0)) else NA_real_)
}

# A fit as another package states it.
run_call <- function(formula, data) {
  require_package(option$package)
  call <- parse(text = option$call)
  best <- Inf
  for (i in 1:3) {
    time <- seconds(fit <- suppressWarnings(suppressMessages(eval(call, list(data = data)))))
    if (i == 1) first <- time
    best <- min(best, time)
    if (first > 20) break
  }
  list(total_s = best, first_s = first, criterion = -2 * as.numeric(logLik(fit)),
       version = versions(option$package))
}

# rstanarm's models come compiled; its set-up is the rest of the call's time.
run_rstanarm <- function(formula, data) {
  require_package("rstanarm")
  total <- seconds(fit <- suppressWarnings(suppressMessages(stan_lmer(
    formula, data, chains = number("chains"), iter = number("tune") + number("draws"),
    warmup = number("tune"), cores = number("cores"), seed = number("seed"), refresh = 0
  ))))
  sampling <- makespan(fit$stanfit, number("cores"))
  write_draws(as.array(fit), "^(?!b\\[|mean_PPD|log-posterior)")
  list(setup_s = max(0, total - sampling), sampling_s = sampling, version = versions("rstanarm"),
       note = "its own default priors")
}

run_brms <- function(formula, data) {
  require_package("brms")
  # Debian's BH leaves the headers to the compiler's own folder, where rstan does not look.
  if (!nzchar(system.file("include", "boost", package = "BH"))) {
    rstan::rstan_options(boost_lib = "/usr/include")
  }
  compile <- seconds(empty <- suppressWarnings(suppressMessages(brm(
    formula, data, chains = 0, backend = "rstan", silent = 2, refresh = 0
  ))))
  total <- seconds(fit <- suppressWarnings(suppressMessages(update(
    empty, chains = number("chains"), iter = number("tune") + number("draws"),
    warmup = number("tune"), cores = number("cores"), seed = number("seed"), refresh = 0,
    silent = 2, recompile = FALSE
  ))))
  sampling <- makespan(fit$fit, number("cores"))
  write_draws(as.array(fit), "^(b_|sd_|cor_|sigma$)")
  list(setup_s = max(0, total - sampling), compile_s = compile, sampling_s = sampling,
       version = versions("brms"), note = "its own default priors")
}

formula <- as.formula(option$formula)
data <- read_data(option$stem)
run <- get(paste0("run_", option$job))
result <- tryCatch(run(formula, data), error = function(e) list(error = conditionMessage(e)))
result$peak_mib <- peak_mib()
print_json(result)
