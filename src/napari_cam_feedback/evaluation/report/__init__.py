"""The report of a comparison: its page, tables, figures, and what it states."""
