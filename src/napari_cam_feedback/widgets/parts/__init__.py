"""Parts that the docks are built of; they know no session."""
