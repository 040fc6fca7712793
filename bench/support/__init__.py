"""What the lines of the benchmark share: rounds in turn, a broker, processes and their memory, data, tools."""
