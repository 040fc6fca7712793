"""The embedded broker: a real Apache Kafka that needs no installation."""
