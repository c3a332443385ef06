"""Where the time of requests goes, measured on real users: `recfusion profile`."""
