"""x"""
def reml_summary(fit):
    return "..."
