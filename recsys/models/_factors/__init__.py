"""Code shared by the models of user and item factors."""
