"""What Tidemill takes, beside what others take and the limits of the machine. `make bench` runs `bench/__main__.py`."""
