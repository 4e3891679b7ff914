"""What the docks share: the open project, the item that is looked at, and what is shown of it."""
