"""What each kind of job does: a job and its context in, an outcome out."""
