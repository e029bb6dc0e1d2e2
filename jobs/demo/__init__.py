"""The demo on the Complete Journey data set."""
