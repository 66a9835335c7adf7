"""Client connections and their limits."""
