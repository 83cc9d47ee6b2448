"""The sections of the HTML report, each a function of merged runs."""
