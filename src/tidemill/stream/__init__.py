"""The stream: from the source into Kafka."""
