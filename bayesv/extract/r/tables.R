# ---------------------------------------------------------------- draws

chosen <- function(draws, name) {
  if (!name %in% dimnames(draws)[[3]]) refuse("its draws have no variable '", name, "'")
  as.numeric(draws[, , name])            # iterations of chain 1, then of chain 2, ...
}

# scale: sigma, or the SDs and correlation parameters of residuals with a structure, by their order.
draws_table <- function(draws, sources, names, terms, lower, scale = list(sigma = chosen(draws, "sigma"))) {
  size <- dim(draws)
  columns <- list(chain = rep(seq_len(size[2]), each = size[1]), draw = rep(seq_len(size[1]), size[2]))
  for (j in seq_along(names)) columns[[paste0("beta[", names[j], "]")]] <- chosen(draws, sources[j])
  for (t in terms) for (i in seq_along(t$columns)) for (j in seq_len(i)) if (i == j || t$kind != "diag")
    columns[[paste0("cov[", t$group, ": ", t$columns[i], ", ", t$columns[j], "]")]] <- lower(t, i, j)
  as.data.frame(c(columns, scale), optional = TRUE)
}

# ---------------------------------------------------------------- text

shown_levels <- function(f) I(ifelse(is.na(levels(f)), "NA", levels(f)))     # addNA() makes NA a level

text <- function(x) gsub("\\s+", " ", paste(deparse(x, width.cutoff = 500L), collapse = " "))

plain <- function(x) matrix(as.numeric(x), nrow(x), ncol(x))

# A covariance of estimates, if it could be computed.
finite_or_none <- function(x) {
  x <- tryCatch(plain(x), error = function(e) NULL)
  if (!is.null(x) && all(is.finite(x))) x
}

digits <- function(x) ifelse(is.finite(x), sprintf("%.17g", as.numeric(x)), "NA")

write_table <- function(table, path, name) {
  table[] <- lapply(table, function(v) {
    if (is.logical(v)) return(ifelse(v, "TRUE", "FALSE"))
    if (is.numeric(v)) digits(v) else enc2utf8(as.character(v))
  })
  quoted <- function(v) paste0('"', gsub('"', '""', v, fixed = TRUE), '"')
  table[] <- lapply(table, function(v) if (all(grepl("^[-+.0-9eNA]*$", v))) v else quoted(v))
  header <- paste(quoted(enc2utf8(names(table))), collapse = ",")
  write_whole(c(header, do.call(paste, c(unname(as.list(table)), sep = ","))), file.path(path, name), gzfile)
}

json <- function(x, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.null(x)) return("null")
  if (is.matrix(x) && length(x)) return(json(lapply(seq_len(nrow(x)), function(i) I(as.numeric(x[i, ]))), indent))
  if (is.list(x) && length(x) == 0) return(if (inherits(x, "AsIs")) "[]" else "{}")
  if (is.list(x) && !is.null(names(x))) {
    values <- vapply(x, json, "", indent = deeper)
    return(paste0("{\n", paste0(deeper, json_text(names(x)), ": ", values, collapse = ",\n"), "\n", indent, "}"))
  }
  if (is.list(x)) return(paste0("[", paste(vapply(x, json, "", indent = deeper), collapse = ", "), "]"))
  if (length(x) == 0) return("[]")
  array <- inherits(x, "AsIs") || length(x) != 1
  x <- unclass(x)
  values <- if (is.character(x)) json_text(x) else if (is.logical(x)) ifelse(x, "true", "false") else
    sub("^NA$", "null", digits(x))
  values[is.na(x)] <- "null"
  if (array) paste0("[", paste(values, collapse = ", "), "]") else values
}

json_text <- function(x) {
  x <- gsub("\\", "\\\\", enc2utf8(x), fixed = TRUE)
  x <- gsub("\"", "\\\"", x, fixed = TRUE)
  x <- gsub("\n", "\\n", gsub("\t", "\\t", gsub("\r", "\\r", x, fixed = TRUE), fixed = TRUE), fixed = TRUE)
  paste0("\"", x, "\"")
}
