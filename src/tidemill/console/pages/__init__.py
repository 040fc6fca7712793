"""The pages of the console, one file each; the page Try it has one for each kind of model."""
