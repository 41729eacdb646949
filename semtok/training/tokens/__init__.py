"""Rows of codes that are learnt for what they are for: `semtok train tokens`."""
