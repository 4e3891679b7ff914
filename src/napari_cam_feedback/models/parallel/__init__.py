"""Several processes: starting them, and sharing images among them."""
