"""The producer: rows of the source into Kafka, each exactly once."""
