"""The tables of a study, a function for each that computes it. `Study` keeps them."""
