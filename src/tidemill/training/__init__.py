"""Training: sealed batches in, published generations of Spark models out."""
