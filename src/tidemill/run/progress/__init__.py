"""How far a run is: counts, rates, and sentences about them."""
