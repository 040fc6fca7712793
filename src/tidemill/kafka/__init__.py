"""Kafka: its client, the codec of its messages, and the embedded broker."""
