"""The scripts of a nightly job, and the workflows that call them."""
