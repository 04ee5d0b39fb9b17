# Profile likelihood intervals (ML) and a parametric bootstrap by lme4, as JSON beside this script.
suppressMessages(library(lme4)); library(jsonlite)
f1 <- lmer(Reaction ~ Days + (Days|Subject), sleepstudy, REML=FALSE)
f2 <- lmer(Yield ~ 1 + (1|Batch), Dyestuff, REML=FALSE)
f3 <- lmer(diameter ~ 1 + (1|plate)+(1|sample), Penicillin, REML=FALSE)
f4 <- lmer(Yield ~ 1 + (1|Batch), Dyestuff2, REML=FALSE)
out <- lapply(list(sleepstudy=f1,dyestuff=f2,penicillin=f3,dyestuff2=f4), function(f) {ci <- confint(profile(f, which="theta_", devtol=1e-9), level=.95); list(names=rownames(ci), low=ci[,1], high=ci[,2], estimate=as.data.frame(VarCorr(f))[,c("grp","var1","var2","sdcor")])})
set.seed(1)
b <- bootMer(lmer(Reaction ~ Days + (Days|Subject), sleepstudy), function(m) c(fixef(m), as.data.frame(VarCorr(m))$sdcor), nsim=1000)
out$boot <- list(names=names(b$t0), mean=colMeans(b$t), sd=apply(b$t,2,sd))
write_json(out, "profile.json", digits=12, auto_unbox=TRUE, pretty=TRUE)

