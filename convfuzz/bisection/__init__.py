"""Which release of a package brought a bug, or took it away; imports the case, what is kept of runs, and no framework.

:mod:`.releases` says which releases there are, :mod:`.environments` installs one, :mod:`.script` runs a finding's script in
it, and :mod:`.search` chooses which to try.
"""
