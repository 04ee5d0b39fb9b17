"""Whether draws suffice (R̂, ESS, k̂) and what they say (summaries)."""
