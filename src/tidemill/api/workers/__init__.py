"""The API in several processes: one accepts connections and hands them to workers, which answer."""
