"""What a data file is like, guessed from a part of it: its layout, its columns, and the models that fit them.

Start with :func:`tidemill.guessing.proposal.propose`. Each guess has its reason in a sentence. What stays unclear is
said, with the setting that decides it.
"""
