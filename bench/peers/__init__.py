"""What Tidemill is measured against: small programs, as their users write them, and Kafka's own tools."""
