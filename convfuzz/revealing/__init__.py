"""Measuring a kernel's arithmetic from outside: the order of its sums, its number formats, what may change a result, what to declare."""
