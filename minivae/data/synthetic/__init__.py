"""Draw digits and faces, for machines without a data set."""
