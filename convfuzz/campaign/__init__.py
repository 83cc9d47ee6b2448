"""Many cases in many processes: rounds, workers, the supervisor, and how an interrupted run is resumed."""
