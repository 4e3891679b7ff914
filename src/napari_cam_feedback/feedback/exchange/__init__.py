"""Masks of others: the files of other programs, run lengths, fitting and merging."""
