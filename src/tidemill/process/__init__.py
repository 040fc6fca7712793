"""What spans all stages: start and watch them, check before they start, back a run up, start over."""
