"""Makes the forkserver deaf to Ctrl-C and its like, which are the supervisor's: it is the first module that the forkserver imports."""

from convfuzz.system.interrupts import ignore_ending

ignore_ending()
