"""The paths of Oryx 2's serving layer, for clients that were written for it: see docs/oryx.md."""
