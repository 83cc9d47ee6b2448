"""One case on several backends beside the reference: here what computes meets what is kept."""
