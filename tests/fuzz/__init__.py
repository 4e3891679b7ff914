"""Every reader on files that were changed at random: each is read, or refused in one sentence.

``make fuzz`` runs 20,000 cases; `test_fuzz` some hundred of them, and all files that were ever read wrongly (``finds``).
"""
